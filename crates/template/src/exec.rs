//! Tree and data to text.
//!
//! Source: the documentation of Go's text/template; error texts follow its implementation.

use std::fmt::Display;
use std::sync::Arc;

use crate::builtin;
use crate::error::Error;
use crate::function::{Function, Functions, Type};
use crate::gofmt::{self, quote};
use crate::html::Escaper;
use crate::node::{Branch, Command, Expr, ExprKind, Node, Number, Pipe, Tree};
use crate::set::TemplateSet;
use crate::value::Value;

/// What one execution may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes evaluated and elements visited.
    pub steps: u64,
    /// Bytes of output. All texts made on the way may have 16 times as many.
    pub output_bytes: usize,
    /// Templates, control structures and parentheses within one another.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 1_000_000, output_bytes: 4 << 20, depth: 150 }
    }
}

/// What a missing key of a map yields: Go's option `missingkey`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingKey {
    /// Nil, which prints as `<no value>`.
    Default,
    /// The zero of the map's values: `""` for texts. What Prometheus and Alertmanager set.
    #[default]
    Zero,
    /// An error.
    Error,
}

/// How to execute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Bounds.
    pub limits: Limits,
    /// What a missing key yields.
    pub missing_key: MissingKey,
    /// Whether the output is HTML: values are then escaped for the place where they stand.
    pub html: bool,
}

pub(crate) fn execute(
    set: &TemplateSet,
    name: &str,
    data: &Value,
    functions: &Functions,
    options: &Options,
) -> Result<String, Error> {
    let Some(tree) = set.tree(name) else {
        return Err(Error::Execute(format!("template: no template {}", quote(name))));
    };
    let out = if options.html { Out::Html(Escaper::default()) } else { Out::Text(String::new()) };
    let mut exec = Exec { set, functions, options, out, steps: 0, made: 0, depth: 0 };
    exec.template(tree, data.clone())?;
    Ok(match exec.out {
        Out::Text(text) => text,
        Out::Html(escaper) => escaper.finish(),
    })
}

enum Out {
    Text(String),
    Html(Escaper),
}

struct Exec<'a> {
    set: &'a TemplateSet,
    functions: &'a Functions,
    options: &'a Options,
    out: Out,
    steps: u64,
    /// Bytes of text that functions returned.
    made: usize,
    depth: usize,
}

/// One template that is being executed.
struct Frame<'a> {
    tree: &'a Tree,
    variables: Vec<(&'a str, Value)>,
}

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl Frame<'_> {
    /// An error at a node, in Go's words.
    fn error(&self, pos: usize, node: &dyn Display, message: impl Display) -> Error {
        Error::Execute(format!(
            "template: {}: executing {} at <{node}>: {message}",
            self.tree.location(pos),
            quote(&self.tree.name),
        ))
    }
}

impl<'a> Exec<'a> {
    fn step(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        self.steps += 1;
        if self.steps > self.options.limits.steps {
            let limit = self.options.limits.steps;
            return Err(Error::Limit(format!("template: {}: more than {limit} steps", frame.tree.name)));
        }
        Ok(())
    }

    fn deeper(&mut self, frame: &Frame<'_>, pos: usize, node: &dyn Display) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > self.options.limits.depth {
            let limit = self.options.limits.depth;
            let message = format!("exceeded maximum template depth ({limit})");
            return Err(Error::Limit(frame.error(pos, node, message).to_string()));
        }
        Ok(())
    }

    fn check_output(&self, frame: &Frame<'_>) -> Result<(), Error> {
        let len = match &self.out {
            Out::Text(text) => text.len(),
            Out::Html(escaper) => escaper.len(),
        };
        if len > self.options.limits.output_bytes { Err(self.too_long(frame)) } else { Ok(()) }
    }

    fn too_long(&self, frame: &Frame<'_>) -> Error {
        let limit = self.options.limits.output_bytes;
        Error::Limit(format!("template: {}: more than {limit} bytes of output", frame.tree.name))
    }

    fn template(&mut self, tree: &'a Tree, data: Value) -> Result<(), Error> {
        let mut frame = Frame { tree, variables: vec![("$", data.clone())] };
        self.list(&mut frame, &data, &tree.root)?;
        Ok(())
    }

    fn list(&mut self, frame: &mut Frame<'a>, dot: &Value, nodes: &'a [Node]) -> Result<Flow, Error> {
        for node in nodes {
            self.step(frame)?;
            let flow = match node {
                Node::Text { text } => {
                    match &mut self.out {
                        Out::Text(out) => out.push_str(text),
                        Out::Html(escaper) => escaper.text(text),
                    }
                    self.check_output(frame)?;
                    Flow::Next
                }
                Node::Action { pipe } => {
                    let value = self.pipe(frame, dot, pipe)?;
                    if pipe.declared.is_empty() {
                        self.print(frame, pipe, &value)?;
                    }
                    Flow::Next
                }
                Node::If(branch) => self.choose(frame, dot, branch, false)?,
                Node::With(branch) => self.choose(frame, dot, branch, true)?,
                Node::Range(branch) => self.range(frame, dot, branch)?,
                Node::Template { pos, name, pipe } => {
                    let set = self.set;
                    let Some(tree) = set.tree(name) else {
                        let node = TemplateCall { name, pipe };
                        let message = format!("template {} not defined", quote(name));
                        return Err(frame.error(*pos, &node, message));
                    };
                    self.deeper(frame, *pos, &TemplateCall { name, pipe })?;
                    let data = match pipe {
                        Some(pipe) => self.pipe(frame, dot, pipe)?,
                        None => Value::Nil,
                    };
                    self.template(tree, data)?;
                    self.depth -= 1;
                    Flow::Next
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, frame: &Frame<'a>, pipe: &Pipe, value: &Value) -> Result<(), Error> {
        if let Value::Function(_) = value {
            let message = format!("can't print {pipe} of type func");
            return Err(frame.error(pipe.pos, pipe, message));
        }
        let limit = self.options.limits.output_bytes;
        match &mut self.out {
            Out::Text(out) => match value {
                Value::Nil => out.push_str("<no value>"),
                Value::String(text) => out.push_str(text),
                other => match gofmt::sprint(std::slice::from_ref(other), limit) {
                    Ok(text) => out.push_str(&text),
                    Err(gofmt::TooLong) => return Err(self.too_long(frame)),
                },
            },
            Out::Html(escaper) => {
                let last = pipe.commands.last().and_then(|command| command.args.first());
                let escaped = match last.map(|expr| &expr.kind) {
                    Some(ExprKind::Identifier(name)) => name == "html",
                    _ => false,
                };
                if escaper.value(value, escaped, limit).is_err() {
                    return Err(self.too_long(frame));
                }
            }
        }
        self.check_output(frame)
    }

    fn choose(
        &mut self,
        frame: &mut Frame<'a>,
        dot: &Value,
        branch: &'a Branch,
        with: bool,
    ) -> Result<Flow, Error> {
        self.deeper(frame, branch.pipe.pos, &branch.pipe)?;
        let scope = frame.variables.len();
        let value = self.pipe(frame, dot, &branch.pipe)?;
        let flow = if value.truth() {
            self.list(frame, if with { &value } else { dot }, &branch.list)?
        } else if let Some(list) = &branch.or_else {
            self.list(frame, dot, list)?
        } else {
            Flow::Next
        };
        frame.variables.truncate(scope);
        self.depth -= 1;
        Ok(flow)
    }

    fn range(&mut self, frame: &mut Frame<'a>, dot: &Value, branch: &'a Branch) -> Result<Flow, Error> {
        self.deeper(frame, branch.pipe.pos, &branch.pipe)?;
        let scope = frame.variables.len();
        let value = self.pipe(frame, dot, &branch.pipe)?;
        let inner = frame.variables.len();
        let mut any = false;
        match value.underlying() {
            Value::Nil => {}
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    any = true;
                    if self.iterate(frame, branch, inner, Value::Int(i as i64), item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, item) in &map.entries {
                    any = true;
                    let key = Value::string(key.as_str());
                    if self.iterate(frame, branch, inner, key, item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Int(count) => {
                for i in 0..count {
                    any = true;
                    if self.iterate(frame, branch, inner, Value::Int(i), &Value::Int(i))? == Flow::Break {
                        break;
                    }
                }
            }
            _ => {
                let message = format!("range can't iterate over {value}");
                return Err(frame.error(branch.pipe.pos, &branch.pipe, message));
            }
        }
        frame.variables.truncate(scope);
        let mut flow = Flow::Next;
        if !any && let Some(list) = &branch.or_else {
            flow = self.list(frame, dot, list)?;
        }
        frame.variables.truncate(scope);
        self.depth -= 1;
        Ok(flow)
    }

    fn iterate(
        &mut self,
        frame: &mut Frame<'a>,
        branch: &'a Branch,
        scope: usize,
        key: Value,
        item: &Value,
    ) -> Result<Flow, Error> {
        self.step(frame)?;
        let declared = &branch.pipe.declared;
        if let [first] = declared.as_slice() {
            self.set_declared(frame, branch, first, scope - 1, item.clone());
        } else if let [first, second] = declared.as_slice() {
            let first_at = scope.saturating_sub(2);
            self.set_declared(frame, branch, first, first_at, key);
            self.set_declared(frame, branch, second, scope - 1, item.clone());
        }
        let flow = self.list(frame, item, &branch.list)?;
        frame.variables.truncate(scope);
        Ok(flow)
    }

    /// Sets a variable of a `range`: one of its own at `at`, or with `=` one of an outer scope.
    fn set_declared(&self, frame: &mut Frame<'a>, branch: &Branch, name: &str, at: usize, value: Value) {
        let variable = if branch.pipe.assign {
            frame.variables.iter_mut().rev().find(|(known, _)| *known == name)
        } else {
            frame.variables.get_mut(at)
        };
        if let Some((_, slot)) = variable {
            *slot = value;
        }
    }

    fn pipe(&mut self, frame: &mut Frame<'a>, dot: &Value, pipe: &'a Pipe) -> Result<Value, Error> {
        self.step(frame)?;
        let mut last: Option<Value> = None;
        for command in &pipe.commands {
            last = Some(self.command(frame, dot, command, last)?);
        }
        let value = last.unwrap_or_default();
        for name in &pipe.declared {
            if pipe.assign {
                match frame.variables.iter_mut().rev().find(|(known, _)| known == name) {
                    Some((_, slot)) => *slot = value.clone(),
                    None => return Err(frame.error(pipe.pos, pipe, format!("undefined variable: {name}"))),
                }
            } else {
                frame.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        frame: &mut Frame<'a>,
        dot: &Value,
        command: &'a Command,
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let first = &command.args[0];
        let rest = &command.args[1..];
        match &first.kind {
            ExprKind::Field(fields) => self.fields(frame, dot, dot.clone(), first, fields, rest, last),
            ExprKind::Variable { name, fields } => {
                let value = self.variable(frame, first, name)?;
                if fields.is_empty() {
                    self.not_a_function(frame, first, rest, last.as_ref())?;
                    return Ok(value);
                }
                self.fields(frame, dot, value, first, fields, rest, last)
            }
            ExprKind::Chain { of, fields } => {
                let value = match &of.kind {
                    ExprKind::Nil => {
                        let message = format!("indirection through explicit nil in {first}");
                        return Err(frame.error(first.pos, first, message));
                    }
                    _ => self.arg(frame, dot, of, Type::Any)?,
                };
                self.fields(frame, dot, value, first, fields, rest, last)
            }
            ExprKind::Identifier(name) => self.function(frame, dot, first, command, name, rest, last),
            ExprKind::Pipe(pipe) => {
                self.not_a_function(frame, first, rest, last.as_ref())?;
                self.deeper(frame, first.pos, first)?;
                let value = self.pipe(frame, dot, pipe)?;
                self.depth -= 1;
                Ok(value)
            }
            ExprKind::Nil => Err(frame.error(first.pos, first, "nil is not a command")),
            ExprKind::Dot => {
                self.not_a_function(frame, first, rest, last.as_ref())?;
                Ok(dot.clone())
            }
            ExprKind::Bool(value) => {
                self.not_a_function(frame, first, rest, last.as_ref())?;
                Ok(Value::Bool(*value))
            }
            ExprKind::String { text, .. } => {
                self.not_a_function(frame, first, rest, last.as_ref())?;
                Ok(Value::String(Arc::clone(text)))
            }
            ExprKind::Number(number) => {
                self.not_a_function(frame, first, rest, last.as_ref())?;
                self.constant(frame, first, number)
            }
        }
    }

    fn constant(&self, frame: &Frame<'a>, expr: &Expr, number: &Number) -> Result<Value, Error> {
        match (number.ideal_float, number.int, number.float) {
            (true, _, Some(float)) => Ok(Value::Float(float)),
            (_, Some(int), _) => Ok(Value::Int(int)),
            _ => Err(frame.error(expr.pos, expr, format!("{} overflows int", number.text))),
        }
    }

    fn not_a_function(
        &self,
        frame: &Frame<'a>,
        first: &Expr,
        rest: &[Expr],
        last: Option<&Value>,
    ) -> Result<(), Error> {
        if rest.is_empty() && last.is_none() {
            return Ok(());
        }
        Err(frame.error(first.pos, first, format!("can't give argument to non-function {first}")))
    }

    fn variable(&self, frame: &Frame<'a>, expr: &Expr, name: &str) -> Result<Value, Error> {
        match frame.variables.iter().rev().find(|(known, _)| *known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => Err(frame.error(expr.pos, expr, format!("undefined variable: {name}"))),
        }
    }

    /// Follows `.a.b.c`; arguments belong to the last.
    #[expect(clippy::too_many_arguments, reason = "the parts of one command")]
    fn fields(
        &mut self,
        frame: &mut Frame<'a>,
        dot: &Value,
        mut value: Value,
        expr: &'a Expr,
        fields: &'a [String],
        rest: &'a [Expr],
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let Some((end, path)) = fields.split_last() else { return Ok(value) };
        for field in path {
            value = self.field(frame, &value, expr, field, &[])?;
        }
        let mut args = Vec::with_capacity(rest.len() + 1);
        for arg in rest {
            args.push(self.arg(frame, dot, arg, Type::Any)?);
        }
        args.extend(last);
        self.field(frame, &value, expr, end, &args)
    }

    fn field(
        &mut self,
        frame: &Frame<'a>,
        value: &Value,
        expr: &Expr,
        name: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        self.step(frame)?;
        let refuse = |message: String| Err(frame.error(expr.pos, expr, message));
        if let Value::Object(object) = value {
            if let Some(result) = object.call(name, args) {
                return match result {
                    Ok(value) => self.made(frame, value),
                    Err(message) => refuse(format!("error calling {name}: {message}")),
                };
            }
            if let Some(field) = object.field(name) {
                return if args.is_empty() {
                    Ok(field)
                } else {
                    refuse(format!("{name} has arguments but cannot be invoked as function"))
                };
            }
        }
        match value.underlying() {
            Value::Nil if self.options.missing_key == MissingKey::Error => {
                refuse(format!("nil data; no entry for key {}", quote(name)))
            }
            Value::Nil => Ok(Value::Nil),
            Value::Map(map) => {
                if !args.is_empty() {
                    return refuse(format!("{name} is not a method but has arguments"));
                }
                match (map.entries.get(name), self.options.missing_key) {
                    (Some(value), _) => Ok(value.clone()),
                    (None, MissingKey::Zero) if map.of_strings => Ok(Value::from("")),
                    (None, MissingKey::Error) => refuse(format!("map has no entry for key {}", quote(name))),
                    (None, _) => Ok(Value::Nil),
                }
            }
            _ => refuse(format!("can't evaluate field {name} in type {}", value.type_name())),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one command")]
    fn function(
        &mut self,
        frame: &mut Frame<'a>,
        dot: &Value,
        first: &'a Expr,
        node: &dyn Display,
        name: &str,
        rest: &'a [Expr],
        last: Option<Value>,
    ) -> Result<Value, Error> {
        self.step(frame)?;
        let count = rest.len() + usize::from(last.is_some());
        // `and` and `or` stop at the argument that decides.
        if name == "and" || name == "or" {
            if count == 0 {
                let message = format!("wrong number of args for {name}: want at least 1 got 0");
                return Err(frame.error(first.pos, node, message));
            }
            let mut value = Value::Nil;
            for arg in rest {
                value = self.arg(frame, dot, arg, Type::Any)?;
                if value.truth() == (name == "or") {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        if let Some(function) = self.functions.get(name).cloned() {
            return self.call(frame, dot, first, node, name, &function, rest, last);
        }
        let mut args = Vec::with_capacity(count);
        for arg in rest {
            args.push(self.arg(frame, dot, arg, Type::Any)?);
        }
        args.extend(last);
        if name == "call" {
            let mut args = args.into_iter();
            return match args.next() {
                Some(Value::Function(function)) => {
                    let args: Vec<Value> = args.collect();
                    let result = function.check_count("call", args.len()).and_then(|()| function.call(&args));
                    match result {
                        Ok(value) => self.made(frame, value),
                        Err(message) => {
                            Err(frame.error(first.pos, node, format!("error calling call: {message}")))
                        }
                    }
                }
                Some(other) => {
                    let message =
                        format!("error calling call: non-function {first} of type {}", other.type_name());
                    Err(frame.error(first.pos, node, message))
                }
                None => {
                    let message = "wrong number of args for call: want at least 1 got 0";
                    Err(frame.error(first.pos, node, message))
                }
            };
        }
        match builtin::call(name, &args, self.options.limits.output_bytes) {
            Ok(value) => self.made(frame, value),
            Err(builtin::Refused::TooLong) => Err(self.too_long(frame)),
            Err(builtin::Refused::Count(message)) => Err(frame.error(first.pos, node, message)),
            Err(builtin::Refused::Error(message)) => {
                Err(frame.error(first.pos, node, format!("error calling {name}: {message}")))
            }
            Err(builtin::Refused::Unknown) => {
                Err(frame.error(first.pos, node, format!("{} is not a defined function", quote(name))))
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one command")]
    fn call(
        &mut self,
        frame: &mut Frame<'a>,
        dot: &Value,
        first: &'a Expr,
        node: &dyn Display,
        name: &str,
        function: &Function,
        rest: &'a [Expr],
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let count = rest.len() + usize::from(last.is_some());
        if let Err(message) = function.check_count(name, count) {
            return Err(frame.error(first.pos, node, message));
        }
        let mut args = Vec::with_capacity(count);
        for (i, arg) in rest.iter().enumerate() {
            args.push(self.arg(frame, dot, arg, function.param(i))?);
        }
        if let Some(last) = last {
            args.push(self.fit(frame, first.pos, node, last, function.param(rest.len()))?);
        }
        match function.call(&args) {
            Ok(value) => self.made(frame, value),
            Err(message) => Err(frame.error(first.pos, node, format!("error calling {name}: {message}"))),
        }
    }

    /// Counts what a function made.
    fn made(&mut self, frame: &Frame<'a>, value: Value) -> Result<Value, Error> {
        let bytes = match &value {
            Value::String(text) => text.len(),
            Value::List(items) => items.len() * size_of::<Value>(),
            Value::Map(map) => map.entries.len() * 2 * size_of::<Value>(),
            _ => 0,
        };
        let limit = self.options.limits.output_bytes;
        self.made = self.made.saturating_add(bytes);
        if bytes > limit || self.made > limit.saturating_mul(16) {
            return Err(self.too_long(frame));
        }
        Ok(value)
    }

    /// Evaluates an argument for a parameter of type `wanted`.
    fn arg(
        &mut self,
        frame: &mut Frame<'a>,
        dot: &Value,
        expr: &'a Expr,
        wanted: Type,
    ) -> Result<Value, Error> {
        self.step(frame)?;
        let value = match &expr.kind {
            ExprKind::Dot => dot.clone(),
            ExprKind::Nil => {
                return match wanted {
                    Type::Any | Type::List | Type::Map => Ok(Value::Nil),
                    _ => Err(frame.error(expr.pos, expr, format!("cannot assign nil to {}", wanted.name()))),
                };
            }
            ExprKind::Field(fields) => self.fields(frame, dot, dot.clone(), expr, fields, &[], None)?,
            ExprKind::Variable { name, fields } => {
                let value = self.variable(frame, expr, name)?;
                self.fields(frame, dot, value, expr, fields, &[], None)?
            }
            ExprKind::Pipe(pipe) => {
                self.deeper(frame, expr.pos, expr)?;
                let value = self.pipe(frame, dot, pipe)?;
                self.depth -= 1;
                value
            }
            ExprKind::Identifier(name) => self.function(frame, dot, expr, expr, name, &[], None)?,
            ExprKind::Chain { of, fields } => {
                let value = self.arg(frame, dot, of, Type::Any)?;
                self.fields(frame, dot, value, expr, fields, &[], None)?
            }
            ExprKind::Bool(value) => {
                return match wanted {
                    Type::Any | Type::Bool => Ok(Value::Bool(*value)),
                    _ => Err(self.misfit(frame, expr, wanted)),
                };
            }
            ExprKind::String { text, .. } => {
                return match wanted {
                    Type::Any | Type::String => Ok(Value::String(Arc::clone(text))),
                    _ => Err(self.misfit(frame, expr, wanted)),
                };
            }
            ExprKind::Number(number) => {
                return match (wanted, number.int, number.float) {
                    (Type::Any, ..) => self.constant(frame, expr, number),
                    (Type::Int, Some(int), _) => Ok(Value::Int(int)),
                    (Type::Float, _, Some(float)) => Ok(Value::Float(float)),
                    _ => Err(self.misfit(frame, expr, wanted)),
                };
            }
        };
        self.fit(frame, expr.pos, expr, value, wanted)
    }

    /// A constant of the wrong type.
    fn misfit(&self, frame: &Frame<'a>, expr: &Expr, wanted: Type) -> Error {
        let message = match wanted {
            Type::Bool => format!("expected bool; found {expr}"),
            Type::Int => format!("expected integer; found {expr}"),
            Type::Float => format!("expected float; found {expr}"),
            Type::String => format!("expected string; found {expr}"),
            _ => format!("can't handle {expr} for arg of type {}", wanted.name()),
        };
        frame.error(expr.pos, expr, message)
    }

    /// Checks a computed value against a parameter's type.
    fn fit(
        &self,
        frame: &Frame<'a>,
        pos: usize,
        node: &dyn Display,
        value: Value,
        wanted: Type,
    ) -> Result<Value, Error> {
        let fits = match (wanted, &value) {
            (Type::Any, _) => true,
            (Type::Bool, Value::Bool(_)) | (Type::Int, Value::Int(_)) => true,
            (Type::Float, Value::Float(_)) | (Type::String, Value::String(_)) => true,
            (Type::List, Value::List(_) | Value::Nil) | (Type::Map, Value::Map(_) | Value::Nil) => true,
            // A list or map that also has methods is one to a function, as a named Go type is.
            (Type::List | Type::Map, Value::Object(_)) => {
                let inner = value.underlying();
                let fits =
                    matches!((wanted, &inner), (Type::List, Value::List(_)) | (Type::Map, Value::Map(_)));
                if fits {
                    return Ok(inner);
                }
                false
            }
            _ => false,
        };
        if fits {
            return Ok(value);
        }
        let message = match value {
            Value::Nil => format!("invalid value; expected {}", wanted.name()),
            _ => format!("wrong type for value; expected {}; got {}", wanted.name(), value.type_name()),
        };
        Err(frame.error(pos, node, message))
    }
}

/// `{{template "name" pipe}}`, for errors.
struct TemplateCall<'a> {
    name: &'a str,
    pipe: &'a Option<Pipe>,
}

impl Display for TemplateCall<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{{{template {}", quote(self.name))?;
        if let Some(pipe) = self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}
