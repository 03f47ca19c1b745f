//! The trait objects between a type and a format.
//!
//! serde's traits are generic on both sides. These say the same with objects: a [`Source`] is a deserializer, a [`Sink`] a
//! visitor, and so on. `typed` makes them from types, `format` from formats; neither knows the other.

use std::fmt;

use serde::de::{self, Unexpected};

/// What went wrong; `at` is line and column once the format has said them, `field` grows on the way out.
#[derive(Debug)]
pub(crate) struct Fail {
    pub(crate) at: Option<(u64, u64)>,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Fail {
    /// It happened in the value of `key`.
    pub(crate) fn below(mut self, key: &str) -> Self {
        let joint = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{key}{joint}{}", self.field);
        self
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fail {}

impl de::Error for Fail {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { at: None, field: String::new(), message: message.to_string() }
    }
}

/// What a type asks a format for: serde's `deserialize_*`.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Any,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    String,
    Bytes,
    ByteBuf,
    Option,
    Unit,
    UnitStruct(&'static str),
    NewtypeStruct(&'static str),
    Seq,
    Tuple(usize),
    TupleStruct(&'static str, usize),
    Map,
    Struct(&'static str, &'static [&'static str]),
    Enum(&'static str, &'static [&'static str]),
    Identifier,
    Ignored,
}

/// What a format gives: serde's `visit_*`, without those that configuration has no use for, because each is compiled for
/// each type. Characters and texts of any ownership come as `Str`; bytes and integers of 128 bits are refused.
pub(crate) enum Given<'a, 'de> {
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Str(&'a str),
    None,
    Unit,
    Some(&'a mut dyn Source<'de>),
    Newtype(&'a mut dyn Source<'de>),
    Seq(&'a mut dyn Items<'de>),
    Map(&'a mut dyn Entries<'de>),
    Enum(&'a mut dyn Choice<'de>),
}

impl Given<'_, '_> {
    /// In an error of a type that asked for something else.
    pub(crate) fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Bool(v) => Unexpected::Bool(*v),
            Self::I64(v) => Unexpected::Signed(*v),
            Self::U64(v) => Unexpected::Unsigned(*v),
            Self::F64(v) => Unexpected::Float(*v),
            Self::Str(v) => Unexpected::Str(v),
            Self::None | Self::Unit => Unexpected::Other("null"),
            Self::Some(_) => Unexpected::Option,
            Self::Newtype(_) => Unexpected::NewtypeStruct,
            Self::Seq(_) => Unexpected::Other("a list"),
            Self::Map(_) => Unexpected::Other("a mapping"),
            Self::Enum(_) => Unexpected::Enum,
        }
    }
}

/// A deserializer that is used once.
pub(crate) trait Source<'de> {
    fn give(&mut self, kind: Kind, to: &mut dyn Sink<'de>) -> Result<(), Fail>;
    fn is_human_readable(&self) -> bool;
}

/// A visitor that keeps what it made.
pub(crate) trait Sink<'de> {
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    fn take(&mut self, given: Given<'_, 'de>) -> Result<(), Fail>;
}

/// A `DeserializeSeed` that keeps what it made.
pub(crate) trait Seed<'de> {
    fn grow(&mut self, from: &mut dyn Source<'de>) -> Result<(), Fail>;
}

/// A sequence; `next` says whether there was one more.
pub(crate) trait Items<'de> {
    fn next(&mut self, seed: &mut dyn Seed<'de>) -> Result<bool, Fail>;
    fn size_hint(&self) -> Option<usize>;
}

/// A map; `key` says whether there was one more.
pub(crate) trait Entries<'de> {
    fn key(&mut self, seed: &mut dyn Seed<'de>) -> Result<bool, Fail>;
    fn value(&mut self, seed: &mut dyn Seed<'de>) -> Result<(), Fail>;
    fn size_hint(&self) -> Option<usize>;
}

/// An enum: first its variant, then one of the others.
pub(crate) trait Choice<'de> {
    fn variant(&mut self, seed: &mut dyn Seed<'de>) -> Result<(), Fail>;
    fn unit(&mut self) -> Result<(), Fail>;
    fn newtype(&mut self, seed: &mut dyn Seed<'de>) -> Result<(), Fail>;
    fn tuple(&mut self, len: usize, to: &mut dyn Sink<'de>) -> Result<(), Fail>;
    fn fields(&mut self, fields: &'static [&'static str], to: &mut dyn Sink<'de>) -> Result<(), Fail>;
}
