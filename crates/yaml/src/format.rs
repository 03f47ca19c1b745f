//! The side of the formats: the objects over any deserializer.
//!
//! Errors cross the border both ways. A type's error becomes the format's, so that the format adds the place where it
//! happened; on its way up through outer types it is ours again, with that place, and collects the field's path. Ours
//! waits in a stash while a stand-in travels through the format, which knows neither paths nor when a place is known.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use crate::erased::{Choice, Entries, Fail, Given, Items, Kind, Seed, Sink, Source};
use crate::part::{Empty, Name, Scope, Take};
use crate::typed::seed;
use crate::words;

/// Where an error waits.
pub(crate) type Stash = Cell<Option<Fail>>;

/// What goes with every value on the way down.
#[derive(Clone, Copy)]
pub(crate) struct Way<'s> {
    stash: &'s Stash,
    /// What of the value is read; all without one.
    scope: Option<Scope<'s>>,
    /// A struct that is there without a value has no fields, as in Go's YAML.
    lenient: bool,
    /// Where a text is noted: the key of an entry, for the paths of errors.
    note: Option<&'s RefCell<String>>,
    /// The next mapping is [`serde_saphyr::Spanned`]'s own: its keys are no fields of the text.
    spanned: bool,
}

impl<'s> Way<'s> {
    pub(crate) fn new(stash: &'s Stash, scope: Option<Scope<'s>>) -> Self {
        Self { stash, lenient: scope.is_some(), scope, note: None, spanned: false }
    }

    /// For what stands in a list or behind a variant: a null among them is meant.
    fn strict(self) -> Self {
        Self { scope: None, lenient: false, note: None, spanned: false, ..self }
    }
}

/// Reads a value from any format.
pub(crate) fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D, way: Way<'_>) -> Result<T, Fail> {
    let mut slot = seed(std::marker::PhantomData::<T>);
    Seed::grow(&mut slot, &mut Once { from: Some(from), way })?;
    slot.done()
}

/// Our error as the format's.
pub(crate) fn thrown<E: Error>(stash: &Stash, fail: Fail) -> E {
    let stand_in = E::custom(&fail.message);
    stash.set(Some(fail));
    stand_in
}

/// The format's error as ours: the waiting one with the place that the format has added, or what its text says.
pub(crate) fn caught(stash: &Stash, err: impl fmt::Display) -> Fail {
    match stash.take() {
        Some(fail) if fail.at.is_some() => fail,
        Some(fail) => Fail { at: words::with_place(&err.to_string()).0, ..fail },
        None => {
            let text = err.to_string();
            let (at, message) = words::with_place(&text);
            Fail { at, field: String::new(), message: words::plain(message) }
        }
    }
}

/// A deserializer that is used once.
struct Once<'s, D> {
    from: Option<D>,
    way: Way<'s>,
}

impl<'de, D: Deserializer<'de>> Source<'de> for Once<'_, D> {
    fn give(&mut self, kind: Kind, to: &mut dyn Sink<'de>) -> Result<(), Fail> {
        let from = self.from.take().ok_or_else(|| Fail::custom("a value was read twice"))?;
        let spanned = self.way.spanned || matches!(kind, Kind::NewtypeStruct("__yaml_spanned"));
        let to = Bridge { to, way: Way { spanned, ..self.way } };
        match kind {
            Kind::Struct(..) if self.way.lenient => from.deserialize_option(OrEmpty { kind, to }),
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
        .map_err(|err| caught(self.way.stash, err))
    }

    fn is_human_readable(&self) -> bool {
        self.from.as_ref().is_none_or(Deserializer::is_human_readable)
    }
}

/// A sink, as the visitor that the format is compiled for.
struct Bridge<'s, 'v, 'de> {
    to: &'v mut dyn Sink<'de>,
    way: Way<'s>,
}

impl<'de> Bridge<'_, '_, 'de> {
    fn put<E: Error>(self, given: Given<'_, 'de>) -> Result<(), E> {
        self.to.take(given).map_err(|fail| thrown(self.way.stash, fail))
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
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if let Some(note) = self.way.note {
            text.clone_into(&mut note.borrow_mut());
        }
        self.put(Given::Str(text))
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.put(Given::None)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.put(Given::Unit)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let mut from = Once { from: Some(from), way: self.way };
        self.put(Given::Some(&mut from))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let mut from = Once { from: Some(from), way: self.way };
        self.put(Given::Newtype(&mut from))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        let mut items = HeldItems { inner: items, way: self.way.strict(), at: 0 };
        self.put(Given::Seq(&mut items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        let mut entries = HeldEntries {
            inner: entries,
            way: Way { note: None, spanned: false, ..self.way },
            named: !self.way.spanned,
            key: RefCell::new(String::new()),
            within: false,
        };
        self.put(Given::Map(&mut entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, choice: A) -> Result<(), A::Error> {
        let mut choice: Chosen<'_, A, A::Variant> =
            Chosen { choice: Some(choice), variant: None, way: self.way.strict() };
        self.put(Given::Enum(&mut choice))
    }
}

/// A struct that may be null, which gives it no fields.
struct OrEmpty<'s, 'v, 'de> {
    kind: Kind,
    to: Bridge<'s, 'v, 'de>,
}

impl<'de> Visitor<'de> for OrEmpty<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.to.put(Given::Map(&mut Empty))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.to.put(Given::Map(&mut Empty))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match self.kind {
            Kind::Struct(name, fields) => from.deserialize_struct(name, fields, self.to),
            _ => from.deserialize_any(self.to),
        }
    }
}

/// A seed, as the one that the format is compiled for.
struct BridgeSeed<'s, 'v, 'de> {
    seed: &'v mut dyn Seed<'de>,
    way: Way<'s>,
}

impl<'de> DeserializeSeed<'de> for BridgeSeed<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let mut from = Once { from: Some(from), way: self.way };
        self.seed.grow(&mut from).map_err(|fail| thrown(self.way.stash, fail))
    }
}

/// A format's sequence.
struct HeldItems<'s, A> {
    inner: A,
    way: Way<'s>,
    at: usize,
}

impl<'de, A: SeqAccess<'de>> Items<'de> for HeldItems<'_, A> {
    fn next(&mut self, seed: &mut dyn Seed<'de>) -> Result<bool, Fail> {
        let seed = BridgeSeed { seed, way: self.way };
        let next = self.inner.next_element_seed(seed);
        let next = next.map_err(|err| caught(self.way.stash, err).below(&format!("[{}]", self.at)))?;
        self.at += 1;
        Ok(next.is_some())
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// A format's map.
struct HeldEntries<'s, A> {
    inner: A,
    way: Way<'s>,
    /// Whether the keys are fields of the text.
    named: bool,
    /// The last key.
    key: RefCell<String>,
    /// Whether only a part of its value is read.
    within: bool,
}

impl<'de, A: MapAccess<'de>> HeldEntries<'_, A> {
    /// Reads a key of which `scope` says whether its entry is read.
    fn key_in(&mut self, scope: Scope<'_>, seed: &mut dyn Seed<'de>) -> Result<bool, Fail> {
        loop {
            let asking = ScopedKey { scope, seed: &mut *seed, stash: self.way.stash, key: &self.key };
            match self.inner.next_key_seed(asking).map_err(|err| caught(self.way.stash, err))? {
                None => return Ok(false),
                Some(Take::Not) => {
                    let _: IgnoredAny = self.inner.next_value().map_err(|err| caught(self.way.stash, err))?;
                }
                Some(take) => {
                    self.within = matches!(take, Take::Within);
                    return Ok(true);
                }
            }
        }
    }
}

impl<'de, A: MapAccess<'de>> Entries<'de> for HeldEntries<'_, A> {
    fn key(&mut self, seed: &mut dyn Seed<'de>) -> Result<bool, Fail> {
        if let Some(scope) = self.way.scope {
            return self.key_in(scope, seed);
        }
        self.key.get_mut().clear();
        let seed = BridgeSeed { seed, way: Way { note: Some(&self.key), ..self.way } };
        let next = self.inner.next_key_seed(seed).map_err(|err| caught(self.way.stash, err))?;
        Ok(next.is_some())
    }

    fn value(&mut self, seed: &mut dyn Seed<'de>) -> Result<(), Fail> {
        let key = self.key.borrow();
        let scope = self.way.scope.filter(|_| self.within).map(|scope| scope.within(&key));
        let seed = BridgeSeed { seed, way: Way { scope, ..self.way } };
        self.inner.next_value_seed(seed).map_err(|err| {
            let fail = caught(self.way.stash, err);
            if self.named { fail.below(&key) } else { fail }
        })
    }

    fn size_hint(&self) -> Option<usize> {
        if self.way.scope.is_some() { None } else { self.inner.size_hint() }
    }
}

/// Gives a key to its seed only when its entry is read.
struct ScopedKey<'s, 'v, 'de> {
    scope: Scope<'s>,
    seed: &'v mut dyn Seed<'de>,
    stash: &'s Stash,
    key: &'s RefCell<String>,
}

impl<'de> DeserializeSeed<'de> for ScopedKey<'_, '_, 'de> {
    type Value = Take;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Take, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for ScopedKey<'_, '_, 'de> {
    type Value = Take;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Take, E> {
        let take = self.scope.take(key).map_err(|message| thrown::<E>(self.stash, Fail::custom(message)))?;
        if !matches!(take, Take::Not) {
            key.clone_into(&mut self.key.borrow_mut());
            self.seed.grow(&mut Name(key)).map_err(|fail| thrown::<E>(self.stash, fail))?;
        }
        Ok(take)
    }
}

/// A format's enum, before and after its variant is known.
struct Chosen<'s, A, V> {
    choice: Option<A>,
    variant: Option<V>,
    way: Way<'s>,
}

impl<A, V> Chosen<'_, A, V> {
    fn chosen(&mut self) -> Result<V, Fail> {
        self.variant.take().ok_or_else(|| Fail::custom("a variant was read before its name"))
    }
}

impl<'de, A: EnumAccess<'de>> Choice<'de> for Chosen<'_, A, A::Variant> {
    fn variant(&mut self, seed: &mut dyn Seed<'de>) -> Result<(), Fail> {
        let choice = self.choice.take().ok_or_else(|| Fail::custom("a variant was read twice"))?;
        let seed = BridgeSeed { seed, way: self.way };
        let ((), variant) = choice.variant_seed(seed).map_err(|err| caught(self.way.stash, err))?;
        self.variant = Some(variant);
        Ok(())
    }

    fn unit(&mut self) -> Result<(), Fail> {
        self.chosen()?.unit_variant().map_err(|err| caught(self.way.stash, err))
    }

    fn newtype(&mut self, seed: &mut dyn Seed<'de>) -> Result<(), Fail> {
        let seed = BridgeSeed { seed, way: self.way };
        self.chosen()?.newtype_variant_seed(seed).map_err(|err| caught(self.way.stash, err))
    }

    fn tuple(&mut self, len: usize, to: &mut dyn Sink<'de>) -> Result<(), Fail> {
        let to = Bridge { to, way: self.way };
        self.chosen()?.tuple_variant(len, to).map_err(|err| caught(self.way.stash, err))
    }

    fn fields(&mut self, fields: &'static [&'static str], to: &mut dyn Sink<'de>) -> Result<(), Fail> {
        let to = Bridge { to, way: self.way };
        self.chosen()?.struct_variant(fields, to).map_err(|err| caught(self.way.stash, err))
    }
}
