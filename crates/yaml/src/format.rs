//! The side of the formats: the objects over any deserializer.
//!
//! Errors cross the border both ways. A type's error becomes the format's, so that the format adds the place where it
//! happened; on its way up through outer types it is ours again, with that place. An error that has its place waits in
//! a stash while a stand-in travels through the format, which would otherwise add the places of all outer values.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use crate::Slot;
use crate::erased::{Choice, Entries, Fail, Given, Items, Kind, Seed, Sink, Source};

/// Where an error that has its place waits.
pub(crate) type Stash = Cell<Option<Fail>>;

/// Reads a value from any format.
pub(crate) fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
    stash: &Stash,
) -> Result<T, Fail> {
    let mut slot = Slot::new(std::marker::PhantomData::<T>);
    Seed::grow(&mut slot, &mut Once { from: Some(from), stash })?;
    slot.done()
}

/// Our error as the format's.
pub(crate) fn thrown<E: Error>(stash: &Stash, fail: Fail) -> E {
    if fail.at.is_none() {
        return E::custom(fail.message);
    }
    stash.set(Some(fail));
    E::custom("")
}

/// The format's error as ours: the waiting one, or what its text says.
pub(crate) fn caught(stash: &Stash, err: impl fmt::Display) -> Fail {
    stash.take().unwrap_or_else(|| with_place(&err.to_string()))
}

/// Takes the place out of a message: `[error: ]line L column C: message` or `message at line L, column C`.
fn with_place(text: &str) -> Fail {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let pair = |line: &str, column: &str| {
        let at = (line.trim_end_matches(',').parse().ok()?, column.parse().ok()?);
        (at.0 > 0).then_some(at)
    };
    let front = || {
        let (line, rest) = text.strip_prefix("line ")?.split_once(" column ")?;
        let (column, message) = rest.split_once(": ")?;
        Some((pair(line, column)?, message))
    };
    let back = || {
        let (message, place) = text.rsplit_once(" at line ")?;
        let (line, column) = place.split_once(" column ")?;
        Some((pair(line, column)?, message))
    };
    match front().or_else(back) {
        Some((at, message)) => {
            // Both places may be there.
            let suffix = format!(" at line {}, column {}", at.0, at.1);
            Fail { at: Some(at), message: message.strip_suffix(&suffix).unwrap_or(message).to_owned() }
        }
        None => Fail { at: None, message: text.to_owned() },
    }
}

/// A deserializer that is used once.
struct Once<'s, D> {
    from: Option<D>,
    stash: &'s Stash,
}

impl<'de, D: Deserializer<'de>> Source<'de> for Once<'_, D> {
    fn give(&mut self, kind: Kind, to: &mut dyn Sink<'de>) -> Result<(), Fail> {
        let from = self.from.take().ok_or_else(|| Fail::custom("a value was read twice"))?;
        let to = Bridge { to, stash: self.stash };
        match kind {
            Kind::Any => from.deserialize_any(to),
            Kind::Bool => from.deserialize_bool(to),
            Kind::I8 => from.deserialize_i8(to),
            Kind::I16 => from.deserialize_i16(to),
            Kind::I32 => from.deserialize_i32(to),
            Kind::I64 => from.deserialize_i64(to),
            Kind::I128 => from.deserialize_i128(to),
            Kind::U8 => from.deserialize_u8(to),
            Kind::U16 => from.deserialize_u16(to),
            Kind::U32 => from.deserialize_u32(to),
            Kind::U64 => from.deserialize_u64(to),
            Kind::U128 => from.deserialize_u128(to),
            Kind::F32 => from.deserialize_f32(to),
            Kind::F64 => from.deserialize_f64(to),
            Kind::Char => from.deserialize_char(to),
            Kind::Str => from.deserialize_str(to),
            Kind::String => from.deserialize_string(to),
            Kind::Bytes => from.deserialize_bytes(to),
            Kind::ByteBuf => from.deserialize_byte_buf(to),
            Kind::Option => from.deserialize_option(to),
            Kind::Unit => from.deserialize_unit(to),
            Kind::UnitStruct(name) => from.deserialize_unit_struct(name, to),
            Kind::NewtypeStruct(name) => from.deserialize_newtype_struct(name, to),
            Kind::Seq => from.deserialize_seq(to),
            Kind::Tuple(len) => from.deserialize_tuple(len, to),
            Kind::TupleStruct(name, len) => from.deserialize_tuple_struct(name, len, to),
            Kind::Map => from.deserialize_map(to),
            Kind::Struct(name, fields) => from.deserialize_struct(name, fields, to),
            Kind::Enum(name, variants) => from.deserialize_enum(name, variants, to),
            Kind::Identifier => from.deserialize_identifier(to),
            Kind::Ignored => from.deserialize_ignored_any(to),
        }
        .map_err(|err| caught(self.stash, err))
    }

    fn is_human_readable(&self) -> bool {
        self.from.as_ref().is_none_or(Deserializer::is_human_readable)
    }
}

/// A sink, as the visitor that the format is compiled for.
struct Bridge<'s, 'v, 'de> {
    to: &'v mut dyn Sink<'de>,
    stash: &'s Stash,
}

impl<'de> Bridge<'_, '_, 'de> {
    fn put<E: Error>(self, given: Given<'_, 'de>) -> Result<(), E> {
        self.to.take(given).map_err(|fail| thrown(self.stash, fail))
    }
}

macro_rules! put {
    ($($method:ident $given:ident $type:ty),* $(,)?) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<(), E> {
            self.put(Given::$given(value))
        })*
    };
}

impl<'de> Visitor<'de> for Bridge<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to.expecting(f)
    }

    put! {
        visit_bool Bool bool,
        visit_i64 I64 i64,
        visit_u64 U64 u64,
        visit_f64 F64 f64,
        visit_str Str &str,
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.put(Given::None)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.put(Given::Unit)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let mut from = Once { from: Some(from), stash: self.stash };
        self.put(Given::Some(&mut from))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let mut from = Once { from: Some(from), stash: self.stash };
        self.put(Given::Newtype(&mut from))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        let mut items = Held { inner: items, stash: self.stash };
        self.put(Given::Seq(&mut items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        let mut entries = Held { inner: entries, stash: self.stash };
        self.put(Given::Map(&mut entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, choice: A) -> Result<(), A::Error> {
        let mut choice: Chosen<'_, A, A::Variant> =
            Chosen { choice: Some(choice), variant: None, stash: self.stash };
        self.put(Given::Enum(&mut choice))
    }
}

/// A seed, as the one that the format is compiled for.
struct BridgeSeed<'s, 'v, 'de> {
    seed: &'v mut dyn Seed<'de>,
    stash: &'s Stash,
}

impl<'de> DeserializeSeed<'de> for BridgeSeed<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let mut from = Once { from: Some(from), stash: self.stash };
        self.seed.grow(&mut from).map_err(|fail| thrown(self.stash, fail))
    }
}

/// A format's sequence or map.
struct Held<'s, A> {
    inner: A,
    stash: &'s Stash,
}

impl<'de, A: SeqAccess<'de>> Items<'de> for Held<'_, A> {
    fn next(&mut self, seed: &mut dyn Seed<'de>) -> Result<bool, Fail> {
        let seed = BridgeSeed { seed, stash: self.stash };
        let next = self.inner.next_element_seed(seed).map_err(|err| caught(self.stash, err))?;
        Ok(next.is_some())
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> Entries<'de> for Held<'_, A> {
    fn key(&mut self, seed: &mut dyn Seed<'de>) -> Result<bool, Fail> {
        let seed = BridgeSeed { seed, stash: self.stash };
        let next = self.inner.next_key_seed(seed).map_err(|err| caught(self.stash, err))?;
        Ok(next.is_some())
    }

    fn value(&mut self, seed: &mut dyn Seed<'de>) -> Result<(), Fail> {
        let seed = BridgeSeed { seed, stash: self.stash };
        self.inner.next_value_seed(seed).map_err(|err| caught(self.stash, err))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// A format's enum, before and after its variant is known.
struct Chosen<'s, A, V> {
    choice: Option<A>,
    variant: Option<V>,
    stash: &'s Stash,
}

impl<A, V> Chosen<'_, A, V> {
    fn chosen(&mut self) -> Result<V, Fail> {
        self.variant.take().ok_or_else(|| Fail::custom("a variant was read before its name"))
    }
}

impl<'de, A: EnumAccess<'de>> Choice<'de> for Chosen<'_, A, A::Variant> {
    fn variant(&mut self, seed: &mut dyn Seed<'de>) -> Result<(), Fail> {
        let choice = self.choice.take().ok_or_else(|| Fail::custom("a variant was read twice"))?;
        let seed = BridgeSeed { seed, stash: self.stash };
        let ((), variant) = choice.variant_seed(seed).map_err(|err| caught(self.stash, err))?;
        self.variant = Some(variant);
        Ok(())
    }

    fn unit(&mut self) -> Result<(), Fail> {
        self.chosen()?.unit_variant().map_err(|err| caught(self.stash, err))
    }

    fn newtype(&mut self, seed: &mut dyn Seed<'de>) -> Result<(), Fail> {
        let seed = BridgeSeed { seed, stash: self.stash };
        self.chosen()?.newtype_variant_seed(seed).map_err(|err| caught(self.stash, err))
    }

    fn tuple(&mut self, len: usize, to: &mut dyn Sink<'de>) -> Result<(), Fail> {
        let to = Bridge { to, stash: self.stash };
        self.chosen()?.tuple_variant(len, to).map_err(|err| caught(self.stash, err))
    }

    fn fields(&mut self, fields: &'static [&'static str], to: &mut dyn Sink<'de>) -> Result<(), Fail> {
        let to = Bridge { to, stash: self.stash };
        self.chosen()?.struct_variant(fields, to).map_err(|err| caught(self.stash, err))
    }
}
