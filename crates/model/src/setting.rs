//! What is wrong with a setting.

/// A field whose value cannot be used. Whoever has read the text adds file and line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}{}{message}", if field.is_empty() { "" } else { ": " })]
pub struct InvalidField {
    /// The field's path, such as `scrape_configs[0].scrape_timeout`; empty for the whole.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// What is wrong with a value; [`InvalidField::within`] says where it is.
impl<T: Into<String>> From<T> for InvalidField {
    fn from(message: T) -> Self {
        Self::new("", message)
    }
}

impl InvalidField {
    /// `message` says what is wrong with `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// The same, told of a field of `section`.
    #[must_use]
    pub fn within(self, section: &str) -> Self {
        let dot = if self.field.is_empty() { "" } else { "." };
        Self { field: format!("{section}{dot}{}", self.field), message: self.message }
    }

    /// The same, told of an item of `list`.
    #[must_use]
    pub fn item(self, list: &str, index: usize) -> Self {
        self.within(&format!("{list}[{index}]"))
    }
}
