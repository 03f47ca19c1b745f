//! Functions that templates may call.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::builtin;
use crate::value::Value;

/// What a parameter accepts. Constants are converted where Go converts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Anything, nil too.
    Any,
    /// A bool.
    Bool,
    /// An integer.
    Int,
    /// A float, or a constant that can be one.
    Float,
    /// Text.
    String,
    /// A list.
    List,
    /// A map.
    Map,
}

impl Type {
    /// Go's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float64",
            Self::String => "string",
            Self::List => "[]interface {}",
            Self::Map => "map[string]interface {}",
        }
    }
}

type Body = dyn Fn(&[Value]) -> Result<Value, String> + Send + Sync;

/// A function. Cheap to clone.
#[derive(Clone)]
pub struct Function(Arc<Inner>);

struct Inner {
    params: Vec<Type>,
    variadic: bool,
    body: Box<Body>,
}

impl Function {
    /// A function with exactly these parameters.
    pub fn new(
        params: &[Type],
        body: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { params: params.to_vec(), variadic: false, body: Box::new(body) }))
    }

    /// A function whose last parameter may be given any number of times, also never.
    pub fn variadic(
        params: &[Type],
        body: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { params: params.to_vec(), variadic: true, body: Box::new(body) }))
    }

    /// Refuses a number of arguments in Go's words.
    pub(crate) fn check_count(&self, name: &str, given: usize) -> Result<(), String> {
        let params = self.0.params.len();
        if self.0.variadic {
            let fixed = params.saturating_sub(1);
            if given < fixed {
                return Err(format!("wrong number of args for {name}: want at least {fixed} got {given}"));
            }
        } else if given != params {
            return Err(format!("wrong number of args for {name}: want {params} got {given}"));
        }
        Ok(())
    }

    /// The type of parameter `index`.
    pub(crate) fn param(&self, index: usize) -> Type {
        let last = self.0.params.len().saturating_sub(1);
        self.0.params.get(index.min(last)).copied().unwrap_or(Type::Any)
    }

    /// Calls it; `args` must fit in number and type.
    pub(crate) fn call(&self, args: &[Value]) -> Result<Value, String> {
        (self.0.body)(args)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({:?})", self.0.params)
    }
}

/// Functions by name, besides the built-in ones.
#[derive(Clone, Debug, Default)]
pub struct Functions(BTreeMap<Cow<'static, str>, Function>);

impl Functions {
    /// No functions but the built-in ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a function.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, function: Function) -> &mut Self {
        self.0.insert(name.into(), function);
        self
    }

    /// Adds a function with exactly these parameters.
    pub fn add(
        &mut self,
        name: &'static str,
        params: &[Type],
        body: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'static,
    ) -> &mut Self {
        self.insert(name, Function::new(params, body))
    }

    /// Adds a function whose last parameter may be given any number of times.
    pub fn add_variadic(
        &mut self,
        name: &'static str,
        params: &[Type],
        body: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'static,
    ) -> &mut Self {
        self.insert(name, Function::variadic(params, body))
    }

    /// Their names, for parsing.
    pub fn names(&self) -> FunctionNames {
        FunctionNames(self.0.keys().cloned().collect())
    }

    /// The function `name`, when it was added.
    pub fn get(&self, name: &str) -> Option<&Function> {
        self.0.get(name)
    }
}

/// The names that a template may call, besides the built-in ones.
#[derive(Clone, Debug, Default)]
pub struct FunctionNames(BTreeSet<Cow<'static, str>>);

impl FunctionNames {
    /// These names.
    pub fn new<N: Into<Cow<'static, str>>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// Whether `name` may be called.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name) || builtin::NAMES.contains(&name)
    }
}
