//! Protobuf fields off a slice, without copying. Source: the Protocol Buffers encoding specification.

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf: {0}")]
pub struct Malformed(pub(crate) &'static str);

/// One field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed("a field that should hold bytes does not")),
        }
    }

    pub(crate) fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed("a field that should be an integer is not")),
        }
    }

    pub(crate) fn int(self) -> Result<i64, Malformed> {
        self.varint().map(|value| value as i64)
    }

    pub(crate) fn sint(self) -> Result<i64, Malformed> {
        self.varint().map(zigzag)
    }

    pub(crate) fn fixed64(self) -> Result<u64, Malformed> {
        match self {
            Self::Fixed64(bits) => Ok(bits),
            _ => Err(Malformed("a field that should be a 64-bit number is not")),
        }
    }

    pub(crate) fn double(self) -> Result<f64, Malformed> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed("a field that should be a double is not")),
        }
    }
}

pub(crate) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The fields of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next field's number and value; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Malformed("a length beyond memory"))?;
                let Some((bytes, rest)) = self.0.split_at_checked(len) else {
                    return Err(Malformed("a field is longer than its message"));
                };
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed("an unknown wire type")),
        };
        if key >> 3 == 0 {
            return Err(Malformed("field number 0"));
        }
        Ok(Some((key >> 3, value)))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (i, &byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.0 = &self.0[i + 1..];
                return Ok(value);
            }
        }
        Err(Malformed("a varint does not end"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let Some((head, rest)) = self.0.split_first_chunk::<N>() else {
            return Err(Malformed("a number is cut off"));
        };
        self.0 = rest;
        Ok(*head)
    }
}

/// A repeated number, packed or not: calls `each` for every one.
pub(crate) fn packed_varints(
    value: Value<'_>,
    mut each: impl FnMut(u64) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    match value {
        Value::Varint(one) => each(one),
        _ => {
            let mut list = Fields(value.bytes()?);
            while !list.0.is_empty() {
                each(list.varint()?)?;
            }
            Ok(())
        }
    }
}

/// A repeated double, packed or not.
pub(crate) fn packed_doubles(value: Value<'_>, out: &mut Vec<f64>) -> Result<(), Malformed> {
    match value {
        Value::Fixed64(bits) => out.push(f64::from_bits(bits)),
        _ => {
            let (chunks, rest) = value.bytes()?.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(Malformed("a list of doubles is cut off"));
            }
            out.extend(chunks.iter().map(|bytes| f64::from_le_bytes(*bytes)));
        }
    }
    Ok(())
}

/// A repeated 64-bit number, packed or not.
pub(crate) fn packed_fixed64(value: Value<'_>, out: &mut Vec<u64>) -> Result<(), Malformed> {
    match value {
        Value::Fixed64(bits) => out.push(bits),
        _ => {
            let (chunks, rest) = value.bytes()?.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(Malformed("a list of numbers is cut off"));
            }
            out.extend(chunks.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        }
    }
    Ok(())
}

/// A text.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("a text is not UTF-8"))
}

/// Writes fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    /// A varint without a field number, for packed lists.
    pub(crate) fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn varint(&mut self, number: u64, value: u64) {
        self.raw(number << 3);
        self.raw(value);
    }

    pub(crate) fn sint(&mut self, number: u64, value: i64) {
        self.varint(number, ((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn fixed64(&mut self, number: u64, value: u64) {
        self.raw(number << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn double(&mut self, number: u64, value: f64) {
        self.fixed64(number, value.to_bits());
    }

    pub(crate) fn bytes(&mut self, number: u64, value: &[u8]) {
        self.raw(number << 3 | 2);
        self.raw(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message that `write` writes. Its length goes before it, so a longer length than one byte moves it.
    pub(crate) fn message<E>(
        &mut self,
        number: u64,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.raw(number << 3 | 2);
        let at = self.0.len();
        self.0.push(0);
        write(self)?;
        let len = self.0.len() - at - 1;
        if len < 0x80 {
            self.0[at] = len as u8;
        } else {
            let mut prefix = Writer::default();
            prefix.raw(len as u64);
            self.0.splice(at..=at, prefix.0);
        }
        Ok(())
    }

    /// A message whose writing cannot fail.
    pub(crate) fn part(&mut self, number: u64, write: impl FnOnce(&mut Self)) {
        let done: Result<(), std::convert::Infallible> = self.message(number, |out| {
            write(out);
            Ok(())
        });
        match done {
            Ok(()) => {}
        }
    }
}
