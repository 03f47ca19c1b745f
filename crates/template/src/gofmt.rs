//! Go's `fmt`: verbs, flags, and how values are rendered.
//!
//! Source: the documentation of Go's packages fmt and strconv. Complex numbers, pointers and the hexadecimal and binary
//! forms of floats are left out: no template value needs them.

use std::fmt::Write as _;

use crate::value::{Map, Value};

/// The widest field and precision that Go accepts.
const MAX_WIDTH: i64 = 1_000_000;

/// How deep lists and maps are printed.
const MAX_DEPTH: usize = 50;

/// A text would have become longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// What `%v` prints.
pub fn display(value: &Value) -> String {
    let mut printer = Printer::new(usize::MAX);
    printer.value(value, 'v', &Spec::default(), 0);
    printer.out
}

/// Go's `fmt.Sprint`: a space between operands when neither is a text.
///
/// # Errors
/// [`TooLong`] when the result has more than `max_bytes`.
pub fn sprint(args: &[Value], max_bytes: usize) -> Result<String, TooLong> {
    let mut printer = Printer::new(max_bytes);
    let is_text = |value: &Value| matches!(value, Value::String(_));
    for (i, arg) in args.iter().enumerate() {
        if i > 0 && !is_text(arg) && !is_text(&args[i - 1]) {
            printer.push(" ");
        }
        printer.value(arg, 'v', &Spec::default(), 0);
    }
    printer.finish()
}

/// Go's `fmt.Sprintln`.
///
/// # Errors
/// [`TooLong`] when the result has more than `max_bytes`.
pub fn sprintln(args: &[Value], max_bytes: usize) -> Result<String, TooLong> {
    let mut printer = Printer::new(max_bytes);
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            printer.push(" ");
        }
        printer.value(arg, 'v', &Spec::default(), 0);
    }
    printer.push("\n");
    printer.finish()
}

/// Go's `fmt.Sprintf`.
///
/// # Errors
/// [`TooLong`] when the result has more than `max_bytes`.
pub fn sprintf(format: &str, args: &[Value], max_bytes: usize) -> Result<String, TooLong> {
    let mut printer = Printer::new(max_bytes);
    let mut reader =
        Reader { chars: format.chars().peekable(), args, next: 0, reordered: false, good_index: true };
    while let Some(c) = reader.chars.next() {
        if c == '%' {
            reader.verb(&mut printer);
        } else {
            printer.push(c.encode_utf8(&mut [0; 4]));
        }
        if printer.full {
            return Err(TooLong);
        }
    }
    if !reader.reordered && reader.next < args.len() {
        printer.push("%!(EXTRA ");
        for (i, arg) in args[reader.next..].iter().enumerate() {
            if i > 0 {
                printer.push(", ");
            }
            printer.typed(arg);
        }
        printer.push(")");
    }
    printer.finish()
}

/// Flags, width and precision of one verb.
#[derive(Clone, Debug, Default)]
struct Spec {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Reads a format and hands out arguments.
struct Reader<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    args: &'a [Value],
    next: usize,
    reordered: bool,
    good_index: bool,
}

impl Reader<'_> {
    fn verb(&mut self, printer: &mut Printer) {
        let mut spec = Spec::default();
        self.good_index = true;
        let mut after_index = false;
        while let Some(&flag) = self.chars.peek() {
            match flag {
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            self.chars.next();
        }
        self.index(&mut after_index);
        if self.chars.peek() == Some(&'*') {
            self.chars.next();
            match self.star() {
                Some(width) => {
                    spec.minus |= width < 0;
                    spec.width = Some(width.unsigned_abs() as usize);
                }
                None => printer.push("%!(BADWIDTH)"),
            }
            after_index = false;
        } else {
            spec.width = self.number();
            if after_index && spec.width.is_some() {
                self.good_index = false;
            }
        }
        if self.chars.peek() == Some(&'.') {
            self.chars.next();
            if after_index {
                self.good_index = false;
            }
            self.index(&mut after_index);
            if self.chars.peek() == Some(&'*') {
                self.chars.next();
                match self.star() {
                    Some(precision) if precision >= 0 => spec.precision = Some(precision as usize),
                    Some(_) => {}
                    None => printer.push("%!(BADPREC)"),
                }
                after_index = false;
            } else {
                spec.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !after_index {
            self.index(&mut after_index);
        }
        let Some(verb) = self.chars.next() else {
            printer.push("%!(NOVERB)");
            return;
        };
        if verb == '%' {
            printer.push("%");
        } else if !self.good_index {
            printer.push(&format!("%!{verb}(BADINDEX)"));
        } else if let Some(arg) = self.args.get(self.next) {
            self.next += 1;
            printer.value(arg, verb, &spec, 0);
        } else {
            printer.push(&format!("%!{verb}(MISSING)"));
        }
    }

    /// Decimal digits; a number that is too large reads as none.
    fn number(&mut self) -> Option<usize> {
        let mut number: Option<i64> = None;
        while let Some(digit) = self.chars.peek().and_then(|c| c.to_digit(10)) {
            self.chars.next();
            number = Some((number.unwrap_or(0) * 10 + i64::from(digit)).min(MAX_WIDTH + 1));
        }
        number.filter(|n| *n <= MAX_WIDTH).map(|n| n as usize)
    }

    /// The integer argument of a `*`.
    fn star(&mut self) -> Option<i64> {
        let arg = self.args.get(self.next)?;
        self.next += 1;
        match arg {
            Value::Int(number) if number.abs() <= MAX_WIDTH => Some(*number),
            _ => None,
        }
    }

    /// An explicit argument index: `[2]`.
    fn index(&mut self, after_index: &mut bool) {
        if self.chars.peek() != Some(&'[') {
            return;
        }
        self.reordered = true;
        let mut ahead = self.chars.clone();
        ahead.next();
        let mut digits = String::new();
        loop {
            match ahead.next() {
                Some(']') => break,
                Some(c) if digits.len() < 10 => digits.push(c),
                _ => {
                    self.good_index = false;
                    self.chars.next();
                    return;
                }
            }
        }
        self.chars = ahead;
        match digits.parse::<usize>() {
            Ok(number) if (1..=self.args.len()).contains(&number) => {
                self.next = number - 1;
                *after_index = true;
            }
            _ => self.good_index = false,
        }
    }
}

struct Printer {
    out: String,
    max_bytes: usize,
    full: bool,
}

impl Printer {
    fn new(max_bytes: usize) -> Self {
        Self { out: String::new(), max_bytes, full: false }
    }

    fn finish(self) -> Result<String, TooLong> {
        if self.full { Err(TooLong) } else { Ok(self.out) }
    }

    fn push(&mut self, text: &str) {
        if self.out.len() + text.len() > self.max_bytes {
            self.full = true;
        }
        if !self.full {
            self.out.push_str(text);
        }
    }

    /// Pads `text` to the width of `spec` with spaces, or with zeros after its sign.
    fn pad(&mut self, text: &str, spec: &Spec, zeros: bool) {
        let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
        if missing == 0 {
            self.push(text);
        } else if spec.minus {
            self.push(text);
            self.push(&" ".repeat(missing));
        } else if zeros {
            let sign = usize::from(text.starts_with(['+', '-', ' ']));
            self.push(&text[..sign]);
            self.push(&"0".repeat(missing));
            self.push(&text[sign..]);
        } else {
            self.push(&" ".repeat(missing));
            self.push(text);
        }
    }

    /// `type=value`, as in complaints.
    fn typed(&mut self, value: &Value) {
        if let Value::Nil = value {
            self.push("<nil>");
            return;
        }
        self.push(&value.type_name());
        self.push("=");
        self.value(value, 'v', &Spec::default(), 0);
    }

    fn bad(&mut self, verb: char, value: &Value) {
        self.push(&format!("%!{verb}("));
        self.typed(value);
        self.push(")");
    }

    fn value(&mut self, value: &Value, verb: char, spec: &Spec, depth: usize) {
        if self.full {
            return;
        }
        if depth > MAX_DEPTH {
            self.push("…");
            return;
        }
        if verb == 'T' {
            self.pad(&value.type_name(), spec, false);
            return;
        }
        match value {
            Value::Nil if verb == 'v' => self.pad("<nil>", spec, false),
            Value::Nil => self.push(&format!("%!{verb}(<nil>)")),
            Value::Bool(flag) if matches!(verb, 't' | 'v') => {
                self.pad(if *flag { "true" } else { "false" }, spec, false);
            }
            Value::Int(number) => self.int(*number, verb, spec, value),
            Value::Float(number) => self.float(*number, verb, spec, value),
            Value::String(text) => self.text(text, verb, spec, value),
            Value::List(items) => {
                let (open, close) = match (verb, spec.sharp) {
                    ('v', true) => (format!("{}{{", value.type_name()), "}"),
                    _ => ("[".to_owned(), "]"),
                };
                self.push(&open);
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        self.push(if verb == 'v' && spec.sharp { ", " } else { " " });
                    }
                    self.value(item, verb, spec, depth + 1);
                }
                self.push(close);
            }
            Value::Map(map) => self.map(map, value, verb, spec, depth),
            Value::Object(object) => {
                let textual = matches!(verb, 'v' | 's' | 'q' | 'x' | 'X') && !(verb == 'v' && spec.sharp);
                if let Some(text) = object.text().filter(|_| textual) {
                    self.text(&text, verb, spec, value);
                } else if let Some(inner) = object.underlying() {
                    self.value(&inner, verb, spec, depth + 1);
                } else {
                    let named = verb == 'v' && (spec.plus || spec.sharp);
                    if spec.sharp {
                        self.push(object.type_name());
                    }
                    self.push("{");
                    for (i, name) in object.fields().iter().enumerate() {
                        if i > 0 {
                            self.push(if spec.sharp { ", " } else { " " });
                        }
                        if named {
                            self.push(name);
                            self.push(":");
                        }
                        self.value(&object.field(name).unwrap_or_default(), verb, spec, depth + 1);
                    }
                    self.push("}");
                }
            }
            Value::Function(_) if verb == 'v' => self.push("func"),
            Value::Bool(_) | Value::Function(_) => self.bad(verb, value),
        }
    }

    fn map(&mut self, map: &Map, value: &Value, verb: char, spec: &Spec, depth: usize) {
        let go_syntax = verb == 'v' && spec.sharp;
        if go_syntax {
            self.push(&value.type_name());
            self.push("{");
        } else {
            self.push("map[");
        }
        for (i, (key, item)) in map.entries.iter().enumerate() {
            if i > 0 {
                self.push(if go_syntax { ", " } else { " " });
            }
            self.value(&Value::string(key.as_str()), verb, spec, depth + 1);
            self.push(":");
            self.value(item, verb, spec, depth + 1);
        }
        self.push(if go_syntax { "}" } else { "]" });
    }

    fn int(&mut self, number: i64, verb: char, spec: &Spec, value: &Value) {
        let magnitude = number.unsigned_abs();
        let digits = match verb {
            'v' | 'd' => magnitude.to_string(),
            'b' => format!("{magnitude:b}"),
            'o' | 'O' => format!("{magnitude:o}"),
            'x' => format!("{magnitude:x}"),
            'X' => format!("{magnitude:X}"),
            'c' | 'q' | 'U' => {
                let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
                let text = match verb {
                    'c' => c.to_string(),
                    'q' => quote_with(c.encode_utf8(&mut [0; 4]), '\'', spec.plus),
                    _ if spec.sharp => format!("U+{number:04X} '{c}'"),
                    _ => format!("U+{number:04X}"),
                };
                self.pad(&text, spec, false);
                return;
            }
            _ => {
                self.bad(verb, value);
                return;
            }
        };
        let mut text = String::new();
        if number < 0 {
            text.push('-');
        } else if spec.plus && verb != 'v' {
            text.push('+');
        } else if spec.space {
            text.push(' ');
        }
        match verb {
            'O' => text.push_str("0o"),
            'b' if spec.sharp => text.push_str("0b"),
            'o' if spec.sharp => text.push('0'),
            'x' if spec.sharp => text.push_str("0x"),
            'X' if spec.sharp => text.push_str("0X"),
            _ => {}
        }
        match spec.precision {
            Some(0) if number == 0 => {}
            Some(precision) => {
                text.push_str(&"0".repeat(precision.saturating_sub(digits.len())));
                text.push_str(&digits);
            }
            None => {
                // Zero padding goes between the prefix and the digits.
                if spec.zero && !spec.minus {
                    let used = text.len() + digits.len();
                    text.push_str(&"0".repeat(spec.width.unwrap_or(0).saturating_sub(used)));
                }
                text.push_str(&digits);
            }
        }
        self.pad(&text, spec, false);
    }

    fn float(&mut self, number: f64, verb: char, spec: &Spec, value: &Value) {
        let (form, precision) = match verb {
            'v' => ('g', spec.precision),
            'g' | 'G' => (verb, spec.precision),
            'e' | 'E' | 'f' => (verb, Some(spec.precision.unwrap_or(6))),
            'F' => ('f', Some(spec.precision.unwrap_or(6))),
            _ => {
                self.bad(verb, value);
                return;
            }
        };
        let mut text = format_float(number, form, precision);
        if spec.sharp && verb != 'v' && number.is_finite() && !text.contains('.') {
            // `#` keeps the decimal point.
            let at = text.find(['e', 'E']).unwrap_or(text.len());
            text.insert(at, '.');
        }
        if !text.starts_with(['-', '+']) {
            if spec.plus && verb != 'v' {
                text.insert(0, '+');
            } else if spec.space {
                text.insert(0, ' ');
            }
        }
        self.pad(&text, spec, spec.zero && number.is_finite());
    }

    fn text(&mut self, text: &str, verb: char, spec: &Spec, value: &Value) {
        let cut = |text: &str| match spec.precision {
            Some(precision) => text.chars().take(precision).collect::<String>(),
            None => text.to_owned(),
        };
        match verb {
            'v' if spec.sharp => self.pad(&quote(text), spec, false),
            'v' | 's' => self.pad(&cut(text), spec, spec.zero && !spec.minus),
            'q' => {
                let text = cut(text);
                let quoted = if spec.sharp && !text.contains(['`', '\n', '\r']) {
                    format!("`{text}`")
                } else {
                    quote_with(&text, '"', spec.plus)
                };
                self.pad(&quoted, spec, false);
            }
            'x' | 'X' => {
                let mut hex = String::new();
                let limit = spec.precision.unwrap_or(usize::MAX);
                for (i, byte) in text.bytes().take(limit).enumerate() {
                    if spec.space && i > 0 {
                        hex.push(' ');
                    }
                    if spec.sharp && (i == 0 || spec.space) {
                        hex.push_str(if verb == 'x' { "0x" } else { "0X" });
                    }
                    let written = match verb {
                        'x' => write!(hex, "{byte:02x}"),
                        _ => write!(hex, "{byte:02X}"),
                    };
                    written.expect("writing to a string does not fail");
                }
                self.pad(&hex, spec, false);
            }
            _ => self.bad(verb, value),
        }
    }
}

/// Go's `strconv.FormatFloat(number, form, precision, 64)` for the forms `e`, `E`, `f`, `g`, `G`; a `precision` of `None`
/// means the shortest text that reads back as the same number.
pub fn format_float(number: f64, form: char, precision: Option<usize>) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match form {
        'f' | 'F' => match precision {
            Some(precision) => format!("{number:.precision$}"),
            None => format!("{number}"),
        },
        'e' | 'E' => {
            let text = match precision {
                Some(precision) => format!("{number:.precision$e}"),
                None => format!("{number:e}"),
            };
            go_exponent(&text, form)
        }
        _ => {
            let scientific = match precision {
                Some(precision) => format!("{number:.*e}", precision.max(1) - 1),
                None => format!("{number:e}"),
            };
            let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let digits = mantissa.chars().filter(char::is_ascii_digit).collect::<String>();
            let digits = digits.trim_end_matches('0');
            let count = digits.len().max(1) as i32;
            let limit = match precision {
                None => 6,
                Some(precision) => {
                    let precision = precision.max(1) as i32;
                    if precision > count && count > exponent { count } else { precision }
                }
            };
            if exponent < -4 || exponent >= limit {
                let mantissa = match mantissa.contains('.') {
                    true => mantissa.trim_end_matches('0').trim_end_matches('.'),
                    false => mantissa,
                };
                let e = if form == 'G' { 'E' } else { 'e' };
                return go_exponent(&format!("{mantissa}e{exponent}"), e);
            }
            let places = (count - 1 - exponent).max(0) as usize;
            match precision {
                None => format!("{number}"),
                Some(_) => {
                    // The digits are rounded already; place the point among them.
                    let rounded: f64 = scientific.parse().unwrap_or(number);
                    format!("{rounded:.places$}")
                }
            }
        }
    }
}

/// Rust's `1.5e7` as Go's `1.5e+07`.
fn go_exponent(text: &str, e: char) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}{e}{sign}{digits:0>2}")
}

/// Go's `strconv.Quote`.
pub fn quote(text: &str) -> String {
    quote_with(text, '"', false)
}

fn quote_with(text: &str, quote: char, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_ascii() => out.push(c),
            c if !ascii && !c.is_control() && (c == ' ' || !c.is_whitespace()) => out.push(c),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
    out
}

/// Go's `strconv.Unquote` for a text in double or single quotes, `None` when it is malformed. Bytes that are not UTF-8
/// become replacement characters.
pub fn unquote(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut out: Vec<u8> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == quote || c == '\n' {
            return None;
        }
        let c = match c {
            '\\' => match chars.next()? {
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                '\\' => '\\',
                'x' => {
                    out.push(u8::try_from(code(&mut chars, 2, 16, 0)?).ok()?);
                    continue;
                }
                digit @ '0'..='7' => {
                    out.push(u8::try_from(code(&mut chars, 2, 8, digit.to_digit(8)?)?).ok()?);
                    continue;
                }
                'u' => char::from_u32(code(&mut chars, 4, 16, 0)?)?,
                'U' => char::from_u32(code(&mut chars, 8, 16, 0)?)?,
                c if c == quote => c,
                _ => return None,
            },
            c => c,
        };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// Reads `digits` more digits after `first`.
fn code(chars: &mut std::str::Chars<'_>, digits: usize, radix: u32, first: u32) -> Option<u32> {
    let mut code = first;
    for _ in 0..digits {
        code = code.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
    }
    Some(code)
}
