//! The side of the types: serde's traits over the objects.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use crate::erased::{Choice, Entries, Fail, Given, Items, Kind, Seed, Sink, Source};

/// A type's visitor, or its seed, and what came of it.
pub(crate) struct Slot<V, T> {
    maker: Option<V>,
    made: Option<T>,
}

impl<V, T> Slot<V, T> {
    pub(crate) fn new(maker: V) -> Self {
        Self { maker: Some(maker), made: None }
    }

    fn maker(&mut self) -> Result<V, Fail> {
        self.maker.take().ok_or_else(|| broken("gave two values for one"))
    }

    pub(crate) fn done(self) -> Result<T, Fail> {
        self.made.ok_or_else(|| broken("gave no value"))
    }
}

fn broken(what: &str) -> Fail {
    Fail { at: None, message: format!("the reader of this format {what}") }
}

impl<'de, V: Visitor<'de>> Sink<'de> for Slot<V, V::Value> {
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.maker {
            Some(visitor) => visitor.expecting(f),
            None => f.write_str("no further value"),
        }
    }

    fn take(&mut self, given: Given<'_, 'de>) -> Result<(), Fail> {
        let visitor = self.maker()?;
        self.made = Some(match given {
            Given::Bool(v) => visitor.visit_bool(v),
            Given::I64(v) => visitor.visit_i64(v),
            Given::U64(v) => visitor.visit_u64(v),
            Given::F64(v) => visitor.visit_f64(v),
            Given::Str(v) => visitor.visit_str(v),
            Given::None => visitor.visit_none(),
            Given::Unit => visitor.visit_unit(),
            Given::Some(from) => visitor.visit_some(Typed(from)),
            Given::Newtype(from) => visitor.visit_newtype_struct(Typed(from)),
            Given::Seq(items) => visitor.visit_seq(TypedItems(items)),
            Given::Map(entries) => visitor.visit_map(TypedEntries(entries)),
            Given::Enum(choice) => visitor.visit_enum(TypedChoice(choice)),
        }?);
        Ok(())
    }
}

impl<'de, S: DeserializeSeed<'de>> Seed<'de> for Slot<S, S::Value> {
    fn grow(&mut self, from: &mut dyn Source<'de>) -> Result<(), Fail> {
        self.made = Some(self.maker()?.deserialize(Typed(from))?);
        Ok(())
    }
}

/// A source, as the one deserializer that every type is compiled for.
struct Typed<'a, 'de>(&'a mut dyn Source<'de>);

impl<'de> Typed<'_, 'de> {
    fn get<V: Visitor<'de>>(self, kind: Kind, visitor: V) -> Result<V::Value, Fail> {
        let mut slot = Slot::new(visitor);
        self.0.give(kind, &mut slot)?;
        slot.done()
    }
}

macro_rules! ask {
    ($($method:ident $kind:ident),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
            self.get(Kind::$kind, visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Typed<'_, 'de> {
    type Error = Fail;

    ask! {
        deserialize_any Any,
        deserialize_bool Bool,
        deserialize_i8 I8,
        deserialize_i16 I16,
        deserialize_i32 I32,
        deserialize_i64 I64,
        deserialize_i128 I128,
        deserialize_u8 U8,
        deserialize_u16 U16,
        deserialize_u32 U32,
        deserialize_u64 U64,
        deserialize_u128 U128,
        deserialize_f32 F32,
        deserialize_f64 F64,
        deserialize_char Char,
        deserialize_str Str,
        deserialize_string String,
        deserialize_bytes Bytes,
        deserialize_byte_buf ByteBuf,
        deserialize_option Option,
        deserialize_unit Unit,
        deserialize_seq Seq,
        deserialize_map Map,
        deserialize_identifier Identifier,
        deserialize_ignored_any Ignored,
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, to: V) -> Result<V::Value, Fail> {
        self.get(Kind::UnitStruct(name), to)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        to: V,
    ) -> Result<V::Value, Fail> {
        self.get(Kind::NewtypeStruct(name), to)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, to: V) -> Result<V::Value, Fail> {
        self.get(Kind::Tuple(len), to)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        to: V,
    ) -> Result<V::Value, Fail> {
        self.get(Kind::TupleStruct(name, len), to)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        to: V,
    ) -> Result<V::Value, Fail> {
        self.get(Kind::Struct(name, fields), to)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        to: V,
    ) -> Result<V::Value, Fail> {
        self.get(Kind::Enum(name, variants), to)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

struct TypedItems<'a, 'de>(&'a mut dyn Items<'de>);

impl<'de> SeqAccess<'de> for TypedItems<'_, 'de> {
    type Error = Fail;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fail> {
        let mut slot = Slot::new(seed);
        if self.0.next(&mut slot)? { slot.done().map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

struct TypedEntries<'a, 'de>(&'a mut dyn Entries<'de>);

impl<'de> MapAccess<'de> for TypedEntries<'_, 'de> {
    type Error = Fail;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fail> {
        let mut slot = Slot::new(seed);
        if self.0.key(&mut slot)? { slot.done().map(Some) } else { Ok(None) }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fail> {
        let mut slot = Slot::new(seed);
        self.0.value(&mut slot)?;
        slot.done()
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

struct TypedChoice<'a, 'de>(&'a mut dyn Choice<'de>);

impl<'de> EnumAccess<'de> for TypedChoice<'_, 'de> {
    type Error = Fail;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fail> {
        let mut slot = Slot::new(seed);
        self.0.variant(&mut slot)?;
        Ok((slot.done()?, self))
    }
}

impl<'de> VariantAccess<'de> for TypedChoice<'_, 'de> {
    type Error = Fail;

    fn unit_variant(self) -> Result<(), Fail> {
        self.0.unit()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fail> {
        let mut slot = Slot::new(seed);
        self.0.newtype(&mut slot)?;
        slot.done()
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fail> {
        let mut slot = Slot::new(visitor);
        self.0.tuple(len, &mut slot)?;
        slot.done()
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        let mut slot = Slot::new(visitor);
        self.0.fields(fields, &mut slot)?;
        slot.done()
    }
}
