//! The side of the types: serde's traits over the objects.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::erased::{Choice, Entries, Fail, Given, Items, Kind, Seed, Sink, Source};

/// A type's visitor, or its seed, and what came of it. `A` says what the type asked for.
pub(crate) struct Slot<V, T, A> {
    maker: Option<V>,
    made: Option<T>,
    asked: PhantomData<A>,
}

/// The slot of a seed: what it asks for shows when it is used.
pub(crate) struct Anything;

impl<V, T, A> Slot<V, T, A> {
    pub(crate) fn new(maker: V) -> Self {
        Self { maker: Some(maker), made: None, asked: PhantomData }
    }

    fn maker(&mut self) -> Result<V, Fail> {
        self.maker.take().ok_or_else(|| broken("gave two values for one"))
    }

    pub(crate) fn done(self) -> Result<T, Fail> {
        self.made.ok_or_else(|| broken("gave no value"))
    }
}

fn broken(what: &str) -> Fail {
    Fail::custom(format!("the reader of this format {what}"))
}

/// What a type that asked for something may be given. serde compiles a visitor's method only where it is called; most of
/// its ten are errors, and those are the same for all types.
trait Asked {
    fn put<'de, V: Visitor<'de>>(visitor: V, given: Given<'_, 'de>) -> Result<V::Value, Fail>;
}

macro_rules! asked {
    ($($(#[$doc:meta])* $name:ident { $($given:ident $(($value:ident))? => $method:ident($($arg:expr)?);)* })*) => {$(
        $(#[$doc])*
        struct $name;

        impl Asked for $name {
            fn put<'de, V: Visitor<'de>>(visitor: V, given: Given<'_, 'de>) -> Result<V::Value, Fail> {
                match given {
                    $(Given::$given $(($value))? => visitor.$method($($arg)?),)*
                    other => Err(Fail::invalid_type(other.unexpected(), &visitor)),
                }
            }
        }
    )*};
}

asked! {
    Truth { Bool(v) => visit_bool(v); }
    Number {
        I64(v) => visit_i64(v);
        U64(v) => visit_u64(v);
        F64(v) => visit_f64(v);
    }
    Text { Str(v) => visit_str(v); }
    /// A field's or a variant's name; formats without names give its number.
    Name {
        Str(v) => visit_str(v);
        U64(v) => visit_u64(v);
    }
    Perhaps {
        None => visit_none();
        Unit => visit_unit();
        Some(from) => visit_some(Typed(from));
    }
    Nothing {
        None => visit_none();
        Unit => visit_unit();
    }
    Wrapped { Newtype(from) => visit_newtype_struct(Typed(from)); }
    List { Seq(items) => visit_seq(TypedItems(items)); }
    Mapping { Map(entries) => visit_map(TypedEntries(entries)); }
    Variant { Enum(choice) => visit_enum(TypedChoice(choice)); }
}

impl Asked for Anything {
    fn put<'de, V: Visitor<'de>>(visitor: V, given: Given<'_, 'de>) -> Result<V::Value, Fail> {
        match given {
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
        }
    }
}

impl<'de, V: Visitor<'de>, A: Asked> Sink<'de> for Slot<V, V::Value, A> {
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.maker {
            Some(visitor) => visitor.expecting(f),
            None => f.write_str("no further value"),
        }
    }

    fn take(&mut self, given: Given<'_, 'de>) -> Result<(), Fail> {
        let visitor = self.maker()?;
        self.made = Some(A::put(visitor, given)?);
        Ok(())
    }
}

impl<'de, S: DeserializeSeed<'de>> Seed<'de> for Slot<S, S::Value, Anything> {
    fn grow(&mut self, from: &mut dyn Source<'de>) -> Result<(), Fail> {
        self.made = Some(self.maker()?.deserialize(Typed(from))?);
        Ok(())
    }
}

/// A seed's slot.
pub(crate) fn seed<'de, S: DeserializeSeed<'de>>(seed: S) -> Slot<S, S::Value, Anything> {
    Slot::new(seed)
}

/// A source, as the one deserializer that every type is compiled for.
struct Typed<'a, 'de>(&'a mut dyn Source<'de>);

impl<'de> Typed<'_, 'de> {
    fn get<A: Asked, V: Visitor<'de>>(self, kind: Kind, visitor: V) -> Result<V::Value, Fail> {
        let mut slot = Slot::<V, V::Value, A>::new(visitor);
        self.0.give(kind, &mut slot)?;
        slot.done()
    }
}

macro_rules! ask {
    ($($method:ident $kind:ident $asked:ident),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
            self.get::<$asked, V>(Kind::$kind, visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Typed<'_, 'de> {
    type Error = Fail;

    ask! {
        deserialize_any Any Anything,
        deserialize_bool Bool Truth,
        deserialize_i8 I8 Number,
        deserialize_i16 I16 Number,
        deserialize_i32 I32 Number,
        deserialize_i64 I64 Number,
        deserialize_i128 I128 Number,
        deserialize_u8 U8 Number,
        deserialize_u16 U16 Number,
        deserialize_u32 U32 Number,
        deserialize_u64 U64 Number,
        deserialize_u128 U128 Number,
        deserialize_f32 F32 Number,
        deserialize_f64 F64 Number,
        deserialize_char Char Text,
        deserialize_str Str Text,
        deserialize_string String Text,
        deserialize_bytes Bytes Text,
        deserialize_byte_buf ByteBuf Text,
        deserialize_option Option Perhaps,
        deserialize_unit Unit Nothing,
        deserialize_seq Seq List,
        deserialize_map Map Mapping,
        deserialize_identifier Identifier Name,
        deserialize_ignored_any Ignored Anything,
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, to: V) -> Result<V::Value, Fail> {
        self.get::<Nothing, V>(Kind::UnitStruct(name), to)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        to: V,
    ) -> Result<V::Value, Fail> {
        self.get::<Wrapped, V>(Kind::NewtypeStruct(name), to)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, to: V) -> Result<V::Value, Fail> {
        self.get::<List, V>(Kind::Tuple(len), to)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        to: V,
    ) -> Result<V::Value, Fail> {
        self.get::<List, V>(Kind::TupleStruct(name, len), to)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        to: V,
    ) -> Result<V::Value, Fail> {
        self.get::<Mapping, V>(Kind::Struct(name, fields), to)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        to: V,
    ) -> Result<V::Value, Fail> {
        self.get::<Variant, V>(Kind::Enum(name, variants), to)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

struct TypedItems<'a, 'de>(&'a mut dyn Items<'de>);

impl<'de> SeqAccess<'de> for TypedItems<'_, 'de> {
    type Error = Fail;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fail> {
        let mut slot = self::seed(seed);
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
        let mut slot = self::seed(seed);
        if self.0.key(&mut slot)? { slot.done().map(Some) } else { Ok(None) }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fail> {
        let mut slot = self::seed(seed);
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
        let mut slot = self::seed(seed);
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
        let mut slot = self::seed(seed);
        self.0.newtype(&mut slot)?;
        slot.done()
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fail> {
        let mut slot = Slot::<V, V::Value, List>::new(visitor);
        self.0.tuple(len, &mut slot)?;
        slot.done()
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        let mut slot = Slot::<V, V::Value, Mapping>::new(visitor);
        self.0.fields(fields, &mut slot)?;
        slot.done()
    }
}
