//! The parsed tree. `Display` writes a node as Go does, for error messages.

use std::fmt;
use std::sync::Arc;

/// One named template.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) name: String,
    /// The name of the text it was defined in.
    pub(crate) parse_name: Arc<str>,
    pub(crate) text: Arc<str>,
    pub(crate) root: Vec<Node>,
}

impl Tree {
    /// Nothing but white space: such a definition does not replace another.
    pub(crate) fn is_blank(&self) -> bool {
        self.root.iter().all(|node| matches!(node, Node::Text { text, .. } if text.trim().is_empty()))
    }

    /// `name:line:column` of a position.
    pub(crate) fn location(&self, pos: usize) -> String {
        let before = self.text.get(..pos).unwrap_or(&self.text);
        let column = match before.rfind('\n') {
            Some(at) => pos - at - 1,
            None => pos,
        };
        format!("{}:{}:{column}", self.parse_name, 1 + before.matches('\n').count())
    }
}

#[derive(Debug)]
pub(crate) enum Node {
    Text { text: String },
    Action { pipe: Pipe },
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { pos: usize, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) list: Vec<Node>,
    pub(crate) or_else: Option<Vec<Node>>,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) pos: usize,
    pub(crate) assign: bool,
    pub(crate) declared: Vec<String>,
    pub(crate) commands: Vec<Command>,
}

#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) args: Vec<Expr>,
}

#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) pos: usize,
    pub(crate) kind: ExprKind,
}

#[derive(Debug)]
pub(crate) enum ExprKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    String { quoted: String, text: Arc<str> },
    Field(Vec<String>),
    Variable { name: String, fields: Vec<String> },
    Identifier(String),
    Pipe(Pipe),
    Chain { of: Box<Expr>, fields: Vec<String> },
}

/// A constant; which of the two it is depends on where it is used.
#[derive(Debug)]
pub(crate) struct Number {
    pub(crate) text: String,
    pub(crate) int: Option<i64>,
    pub(crate) float: Option<f64>,
    /// Whether it is a float where nothing is asked of it.
    pub(crate) ideal_float: bool,
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.declared.is_empty() {
            write!(f, "{} {} ", self.declared.join(", "), if self.assign { "=" } else { ":=" })?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            command.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, arg) in self.args.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            match &arg.kind {
                ExprKind::Pipe(pipe) => write!(f, "({pipe})")?,
                _ => arg.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, fields: &[String]| {
            fields.iter().try_for_each(|field| write!(f, ".{field}"))
        };
        match &self.kind {
            ExprKind::Dot => f.write_str("."),
            ExprKind::Nil => f.write_str("nil"),
            ExprKind::Bool(value) => value.fmt(f),
            ExprKind::Number(number) => f.write_str(&number.text),
            ExprKind::String { quoted, .. } => f.write_str(quoted),
            ExprKind::Field(names) => fields(f, names),
            ExprKind::Variable { name, fields: names } => {
                f.write_str(name)?;
                fields(f, names)
            }
            ExprKind::Identifier(name) => f.write_str(name),
            ExprKind::Pipe(pipe) => pipe.fmt(f),
            ExprKind::Chain { of, fields: names } => {
                match &of.kind {
                    ExprKind::Pipe(pipe) => write!(f, "({pipe})")?,
                    _ => of.fmt(f)?,
                }
                fields(f, names)
            }
        }
    }
}
