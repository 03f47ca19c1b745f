//! Writing protobuf fields. A field that has its default value is left out, as in proto3.

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_int(out: &mut Vec<u8>, number: u64, value: i64) {
    if value != 0 {
        put_varint(out, number << 3);
        put_varint(out, value as u64);
    }
}

pub(super) fn put_sint(out: &mut Vec<u8>, number: u64, value: i64) {
    put_int(out, number, (value << 1) ^ (value >> 63));
}

pub(super) fn put_double(out: &mut Vec<u8>, number: u64, value: f64) {
    // Negative zero is not the default.
    if value.to_bits() != 0 {
        put_varint(out, number << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
    }
}
