//! Where in a text a field stands: for errors of checks that know fields and not texts.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_saphyr::Spanned;

/// Line and column, both from 1, of the field's value, or of the one around it where the text does not have the field; none
/// when it has nothing of the path. `field`: a path such as `sources.logs[1].job`.
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
    let find = |steps: &[Step<'_>]| {
        serde_saphyr::with_deserializer_from_str_with_options(text, crate::options(), |from| {
            Walk { steps }.deserialize(from)
        })
    };
    (1..=steps.len()).rev().find_map(|known| find(&steps[..known]).ok())
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
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = (u64, u64);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(u64, u64), D::Error> {
        if !self.steps.is_empty() {
            return from.deserialize_any(self);
        }
        let found = Spanned::<IgnoredAny>::deserialize(from)?.referenced;
        if found.line() > 0 { Ok((found.line(), found.column())) } else { Err(absent()) }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = (u64, u64);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something that has fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(u64, u64), A::Error> {
        let Some((Step::Key(name), rest)) = self.steps.split_first() else { return Err(absent()) };
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == *name {
                found = Some(map.next_value_seed(Walk { steps: rest })?);
            } else {
                let _: IgnoredAny = map.next_value()?;
            }
        }
        found.ok_or_else(absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(u64, u64), A::Error> {
        let Some((Step::Index(index), rest)) = self.steps.split_first() else { return Err(absent()) };
        let mut found = None;
        for at in 0.. {
            if at == *index {
                found = seq.next_element_seed(Walk { steps: rest })?;
                if found.is_none() {
                    break;
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        found.ok_or_else(absent)
    }
}

fn absent<E: Error>() -> E {
    E::custom("there is no such field")
}
