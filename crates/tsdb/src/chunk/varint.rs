//! LEB128 integers, and a cursor that refuses to read past the end.

use super::CorruptChunk;

/// Appends `value`, 7 bits a byte.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer, small magnitudes short.
#[inline]
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, zigzag(value));
}

/// How many bytes [`put`] writes.
#[inline]
pub(crate) fn len(value: u64) -> usize {
    (70 - value.leading_zeros() as usize).max(7) / 7
}

/// Small magnitudes to small numbers.
#[inline(always)]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The reverse of [`zigzag`].
#[inline(always)]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Bytes that are still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, len: bytes.len() }
    }

    /// Bytes read so far.
    pub(crate) fn used(&self) -> usize {
        self.len - self.rest.len()
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, CorruptChunk> {
        let (&byte, rest) = self.rest.split_first().ok_or(CorruptChunk("the bytes end too early"))?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], CorruptChunk> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(CorruptChunk("the bytes end too early"))?;
        self.rest = rest;
        Ok(head)
    }

    /// Eight bytes, little endian.
    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, CorruptChunk> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(CorruptChunk("the bytes end too early"))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*head))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, CorruptChunk> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(CorruptChunk("a varint has more than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 {
                    Err(CorruptChunk("a varint is longer than it must be"))
                } else {
                    Ok(value)
                };
            }
            shift += 7;
        }
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Result<i64, CorruptChunk> {
        self.varint().map(unzigzag)
    }

    /// A varint that must be at most `max`.
    #[inline]
    pub(crate) fn at_most(&mut self, max: usize) -> Result<usize, CorruptChunk> {
        let value = self.varint()?;
        if value > max as u64 {
            Err(CorruptChunk("a count or position is out of range"))
        } else {
            Ok(value as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_length() {
        for value in (0..64).flat_map(|s| [(1u64 << s) - 1, 1 << s, (1 << s) + 1]).chain([u64::MAX]) {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out.len(), len(value), "{value}");
            let mut cursor = Cursor::new(&out);
            assert_eq!(cursor.varint(), Ok(value));
            assert_eq!(cursor.used(), out.len());
            assert_eq!(unzigzag(zigzag(value as i64)), value as i64);
        }
    }

    #[test]
    fn only_the_shortest_form_is_read() {
        assert!(Cursor::new(&[0x80, 0]).varint().is_err());
        assert!(Cursor::new(&[0xff; 11]).varint().is_err());
        assert!(Cursor::new(&[0x80]).varint().is_err());
        assert!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).varint().is_err());
    }
}
