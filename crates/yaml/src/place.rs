//! Where in a text a field stands: for errors of checks that know fields and not texts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::words;

/// Line and column, both from 1, of the field's value; none when the text does not have the field.
/// `field`: a path such as `sources.logs[1].job`.
pub fn place(text: &str, field: &str) -> Option<(u64, u64)> {
    let mut steps = Vec::new();
    for name in field.split('.') {
        let (name, indices) = name.split_at(name.find('[').unwrap_or(name.len()));
        if !name.is_empty() {
            steps.push(Step::Key(name));
        }
        for index in indices.split(['[', ']']).filter(|index| !index.is_empty()) {
            steps.push(Step::Index(index.parse().ok()?));
        }
    }
    // The format adds the place to an error that is raised at the value.
    let found = std::cell::Cell::new(false);
    let err = serde_saphyr::with_deserializer_from_str_with_options(text, crate::options(), |from| {
        Walk { steps: &steps, found: &found }.deserialize(from)
    })
    .err()?;
    if found.get() { words::with_place(&err.to_string()).0 } else { None }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The rest of the way.
#[derive(Clone, Copy)]
struct Walk<'a> {
    steps: &'a [Step<'a>],
    found: &'a std::cell::Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        if self.steps.is_empty() {
            self.found.set(true);
            return from.deserialize_any(Here);
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something that has fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(name), rest)) = self.steps.split_first() else { return Err(absent()) };
        while let Some(key) = map.next_key::<String>()? {
            if key == *name {
                return map.next_value_seed(Walk { steps: rest, ..self });
            }
            let _: IgnoredAny = map.next_value()?;
        }
        Err(absent())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Step::Index(index), rest)) = self.steps.split_first() else { return Err(absent()) };
        for _ in 0..*index {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Err(absent());
            }
        }
        seq.next_element_seed(Walk { steps: rest, ..self })?.ok_or_else(absent)
    }
}

fn absent<E: Error>() -> E {
    E::custom("there is no such field")
}

/// Takes nothing, so that everything is an error with its place.
struct Here;

impl Visitor<'_> for Here {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}
