//! What templates compute with.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::function::Function;
use crate::gofmt;

/// A value. Cheap to clone.
#[derive(Clone, Default)]
pub enum Value {
    /// No value: Go's nil, and what a missing map key yields.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// Any integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    String(Arc<str>),
    /// Elements in order.
    List(Arc<Vec<Value>>),
    /// Values by text, iterated in sorted order.
    Map(Arc<Map>),
    /// Something with fields and methods that are computed when they are asked for.
    Object(Arc<dyn Object>),
    /// A function, for `call`.
    Function(Function),
}

/// A map from text.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// The entries.
    pub entries: BTreeMap<String, Value>,
    /// Whether all values are texts, as in Go's `map[string]string`: a missing key is then `""` under
    /// [`MissingKey::Zero`](crate::MissingKey::Zero), not nil.
    pub of_strings: bool,
}

/// A value that computes its fields and methods on demand.
pub trait Object: Any + Send + Sync {
    /// What Go would call its type: `template.Alert`.
    fn type_name(&self) -> &str;

    /// The value of a field, `None` when there is no such field.
    fn field(&self, name: &str) -> Option<Value> {
        let _ = name;
        None
    }

    /// Calls a method, `None` when there is no such method. Methods are looked up before fields and must have no effect.
    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let _ = (method, args);
        None
    }

    /// The names of the fields, in the order in which `%v` prints them.
    fn fields(&self) -> &[&str] {
        &[]
    }

    /// The list, map, text or number that this is besides its methods: what is iterated, indexed, measured, compared.
    fn underlying(&self) -> Option<Value> {
        None
    }

    /// How it prints, when not as its fields or underlying value.
    fn text(&self) -> Option<String> {
        None
    }

    /// Whether it is text that is safe in some place of an HTML page.
    fn safe(&self) -> Option<SafeKind> {
        None
    }
}

/// Where in an HTML page a text needs no escaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafeKind {
    /// Between tags.
    Html,
    /// As a URL.
    Url,
}

/// Text that is known to be safe in one place of an HTML page.
#[derive(Clone, Debug)]
pub struct Safe {
    /// Where.
    pub kind: SafeKind,
    /// What.
    pub text: Arc<str>,
}

impl Object for Safe {
    fn type_name(&self) -> &str {
        match self.kind {
            SafeKind::Html => "template.HTML",
            SafeKind::Url => "template.URL",
        }
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::String(Arc::clone(&self.text)))
    }

    fn safe(&self) -> Option<SafeKind> {
        Some(self.kind)
    }
}

impl Value {
    /// A text.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// A list.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Self {
        Self::List(Arc::new(items.into_iter().collect()))
    }

    /// A map with values of any kind.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        let entries = entries.into_iter().map(|(k, v)| (k.into(), v)).collect();
        Self::Map(Arc::new(Map { entries, of_strings: false }))
    }

    /// A map from text to text.
    pub fn string_map<K: Into<String>, V: AsRef<str>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let entries = entries.into_iter().map(|(k, v)| (k.into(), Self::string(v.as_ref()))).collect();
        Self::Map(Arc::new(Map { entries, of_strings: true }))
    }

    /// An object.
    pub fn object(object: impl Object) -> Self {
        Self::Object(Arc::new(object))
    }

    /// Text that HTML output passes through.
    pub fn safe_html(text: impl Into<Arc<str>>) -> Self {
        Self::object(Safe { kind: SafeKind::Html, text: text.into() })
    }

    /// Text that HTML output takes as a URL without checking its scheme.
    pub fn safe_url(text: impl Into<Arc<str>>) -> Self {
        Self::object(Safe { kind: SafeKind::Url, text: text.into() })
    }

    /// The object, when it is one of type `T`.
    pub fn downcast<T: Object>(&self) -> Option<&T> {
        match self {
            Self::Object(object) => (&**object as &dyn Any).downcast_ref(),
            _ => None,
        }
    }

    /// The text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number of an integer or float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(int) => Some(*int as f64),
            Self::Float(float) => Some(*float),
            _ => None,
        }
    }

    /// The elements, when it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// Looks through objects at what they are made of.
    pub fn underlying(&self) -> Value {
        let mut value = self.clone();
        // An object that is made of itself would never end.
        for _ in 0..8 {
            match &value {
                Self::Object(object) => match object.underlying() {
                    Some(inner) => value = inner,
                    None => break,
                },
                _ => break,
            }
        }
        value
    }

    /// Go's truth: false, 0, nil and the empty are false.
    pub fn truth(&self) -> bool {
        match self.underlying() {
            Self::Nil => false,
            Self::Bool(value) => value,
            Self::Int(value) => value != 0,
            Self::Float(value) => value != 0.0,
            Self::String(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Object(_) | Self::Function(_) => true,
        }
    }

    /// What Go's `%T` prints.
    pub fn type_name(&self) -> String {
        match self {
            Self::Nil => "<nil>".to_owned(),
            Self::Bool(_) => "bool".to_owned(),
            Self::Int(_) => "int".to_owned(),
            Self::Float(_) => "float64".to_owned(),
            Self::String(_) => "string".to_owned(),
            Self::List(items) if !items.is_empty() && items.iter().all(|v| v.as_str().is_some()) => {
                "[]string".to_owned()
            }
            Self::List(_) => "[]interface {}".to_owned(),
            Self::Map(map) if map.of_strings => "map[string]string".to_owned(),
            Self::Map(_) => "map[string]interface {}".to_owned(),
            Self::Object(object) => object.type_name().to_owned(),
            Self::Function(_) => "func".to_owned(),
        }
    }
}

impl fmt::Display for Value {
    /// As `%v` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&gofmt::display(self))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.type_name(), gofmt::display(self))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::string(text)
    }
}
