//! Grouping keys: `job/<name>{/<label>/<value>}` behind `/metrics/`, values in base64 where the label has the suffix `@base64`.

use model::labels::is_legacy_label_name;
use model::{Labels, LabelsBuilder};
use wire::otlp::json::from_base64;

/// The labels that a group is known by: the job, and what else the path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupingKey(Labels);

/// A path that names no group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPath(String);

impl GroupingKey {
    /// Reads the path behind `/metrics/`, still percent-encoded.
    ///
    /// # Errors
    /// [`InvalidPath`], with what is wrong.
    pub fn parse(path: &str) -> Result<Self, InvalidPath> {
        let wrong = |text: String| Err(InvalidPath(text));
        let path = path.strip_suffix('/').unwrap_or(path);
        let parts: Vec<&str> = path.split('/').collect();
        let (pairs, rest) = parts.as_chunks::<2>();
        if !rest.is_empty() {
            return wrong(format!("odd number of components in label string {path:?}: a label has no value"));
        }
        let mut labels = LabelsBuilder::default();
        for (i, [name, value]) in pairs.iter().enumerate() {
            let (name, encoded) = match name.strip_suffix("@base64") {
                Some(name) => (name, true),
                None => (*name, false),
            };
            let value = percent_decode(value)
                .ok_or_else(|| InvalidPath(format!("the value of {name:?} is no text")))?;
            // A lone `=` is the empty text, which no path could hold otherwise.
            let value =
                match encoded {
                    false => value,
                    true => from_base64(&value).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(
                        || InvalidPath(format!("invalid base64 encoding of the value {value:?} of {name:?}")),
                    )?,
                };
            if (i == 0) != (name == "job") {
                return wrong(match i {
                    0 => format!("the path must start with job/<name>, not {name:?}"),
                    _ => "the job is given twice".into(),
                });
            }
            if name == "job" && value.is_empty() {
                return wrong("job name is required".into());
            }
            if !is_legacy_label_name(name) || name.starts_with("__") {
                return wrong(format!("improper label name {name:?}"));
            }
            if !labels.get(name).is_empty() {
                return wrong(format!("the label {name:?} is given twice"));
            }
            labels.set(name, value);
        }
        Ok(Self(labels.build()))
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.0
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (digits, tail) = rest.split_first_chunk::<2>()?;
        let digit = |d: u8| char::from(d).to_digit(16);
        out.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        rest = tail;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_groups() {
        let shown = |path: &str| GroupingKey::parse(path).map(|key| key.labels().to_string());
        assert_eq!(shown("job/backup").unwrap(), "{job=\"backup\"}");
        assert!(shown("job/a%20b/path@base64/L3Zhci90bXA/instance/").is_err());
        assert_eq!(shown("job/a%20b/path@base64/L3Zhci90bXA").unwrap(), "{job=\"a b\", path=\"/var/tmp\"}");
        assert_eq!(shown("job@base64/YS9i").unwrap(), "{job=\"a/b\"}");
        assert_eq!(shown("job/a/instance@base64/=").unwrap(), "{job=\"a\"}");
        for bad in [
            "",
            "job",
            "job/",
            "job/a/b",
            "x/a",
            "job/a/__x/1",
            "job/a/b/1/b/2",
            "job/a/job/b",
            "job/%zz",
            "job@base64/!",
            "job/a/x-y/1",
        ] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }
}
