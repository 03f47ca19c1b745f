//! Sections of the file: structs whose fields all have defaults, and for which null means "nothing given".

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

/// A section with defaults: `name: type = default`, with `name("other name"): …` when the file has two names for it.
///
/// serde's derive would do the same, and compile for each field by itself what is here compiled for each type.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$field_meta:meta])* $field:ident $(($alias:literal))? : $type:ty = $default:expr),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                const FIELDS: &[&str] = &[$($crate::config::section::plain(stringify!($field)), $($alias,)?)*];
                const IDENTIFIERS: &[&str] = &[$(stringify!($field), $($alias,)?)*];
                struct Fill;
                impl<'de> serde::de::Visitor<'de> for Fill {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a mapping")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut section = $name::default();
                        let names = || $crate::config::section::OneOf(FIELDS);
                        while let Some(at) = map.next_key_seed(names())? {
                            match IDENTIFIERS[at] {
                                $(stringify!($field) $(| $alias)? =>
                                    $crate::config::section::set(&mut section.$field, &mut map)?,)*
                                other => return Err(serde::de::Error::unknown_field(other, FIELDS)),
                            }
                        }
                        Ok(section)
                    }
                }
                from.deserialize_struct(stringify!($name), FIELDS, Fill)
            }
        }
    };
}
pub(crate) use section;

/// Reads the value of a field; null leaves its default, as in Go's YAML.
pub(crate) fn set<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    field: &mut T,
    map: &mut A,
) -> Result<(), A::Error> {
    if let Some(value) = map.next_value::<Option<T>>()? {
        *field = value;
    }
    Ok(())
}

/// The name that a file has for the field of an identifier.
pub(crate) const fn plain(identifier: &'static str) -> &'static str {
    match identifier.as_bytes() {
        [b'r', b'#', ..] => identifier.split_at(2).1,
        _ => identifier,
    }
}

/// The place of a field's name among these.
pub(crate) struct OneOf(pub(crate) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<usize, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for OneOf {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        let known = self.0.iter().position(|field| *field == name);
        known.ok_or_else(|| E::unknown_field(name, self.0))
    }
}
