//! Templates, alone and in sets that call one another.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::exec::{self, Options};
use crate::function::{FunctionNames, Functions};
use crate::node::Tree;
use crate::parse;
use crate::value::Value;

/// Named templates. Cheap to clone: the trees are shared.
#[derive(Clone, Debug, Default)]
pub struct TemplateSet {
    trees: BTreeMap<String, Arc<Tree>>,
}

impl TemplateSet {
    /// A set without templates.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses `text` as the template `name`, with what it defines. A later definition replaces an earlier one of that
    /// name, unless the later is blank.
    ///
    /// # Errors
    /// [`Error::Parse`]; the set stays as it was.
    pub fn add(&mut self, name: &str, text: &str, functions: &FunctionNames) -> Result<(), Error> {
        for tree in parse::parse(name, text, functions)? {
            if tree.is_blank() && self.trees.get(&tree.name).is_some_and(|old| !old.is_blank()) {
                continue;
            }
            self.trees.insert(tree.name.clone(), Arc::new(tree));
        }
        Ok(())
    }

    /// Whether `name` is defined.
    pub fn contains(&self, name: &str) -> bool {
        self.trees.contains_key(name)
    }

    /// The names of all templates, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.trees.keys().map(String::as_str)
    }

    pub(crate) fn tree(&self, name: &str) -> Option<&Arc<Tree>> {
        self.trees.get(name)
    }

    /// Executes the template `name` on `data`.
    ///
    /// # Errors
    /// [`Error::Execute`] when the template does not fit its data or a function fails, [`Error::Limit`] when a limit of
    /// `options` is passed.
    pub fn execute(
        &self,
        name: &str,
        data: &Value,
        functions: &Functions,
        options: &Options,
    ) -> Result<String, Error> {
        exec::execute(self, name, data, functions, options)
    }

    /// Parses `text` beside this set's templates and executes it: how Alertmanager expands a setting.
    ///
    /// # Errors
    /// As [`TemplateSet::add`] and [`TemplateSet::execute`].
    pub fn execute_text(
        &self,
        text: &str,
        data: &Value,
        functions: &Functions,
        options: &Options,
    ) -> Result<String, Error> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let mut set = self.clone();
        set.add("", text, &functions.names())?;
        set.execute("", data, functions, options)
    }
}

/// One parsed text.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    set: TemplateSet,
}

impl Template {
    /// Parses `text`; `name` appears in errors.
    ///
    /// # Errors
    /// [`Error::Parse`].
    pub fn parse(name: &str, text: &str, functions: &FunctionNames) -> Result<Self, Error> {
        let mut set = TemplateSet::new();
        set.add(name, text, functions)?;
        Ok(Self { name: name.to_owned(), set })
    }

    /// Executes the template on `data`.
    ///
    /// # Errors
    /// As [`TemplateSet::execute`].
    pub fn execute(&self, data: &Value, functions: &Functions, options: &Options) -> Result<String, Error> {
        self.set.execute(&self.name, data, functions, options)
    }
}
