//! The format's messages, which speak to programmers, in words for those who write the files.

/// Takes the place out of a message: `[error: ]line L column C: message` or `message at line L, column C`.
pub(crate) fn with_place(text: &str) -> (Option<(u64, u64)>, &str) {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let pair = |line: &str, column: &str| {
        let at = (line.trim_end_matches(',').parse().ok()?, column.parse().ok()?);
        (at.0 > 0).then_some(at)
    };
    let front = || {
        let (line, rest) = text.strip_prefix("line ")?.split_once(" column ")?;
        let (column, message) = rest.split_once(": ")?;
        Some((pair(line, column)?, message))
    };
    let back = || {
        let (message, place) = text.rsplit_once(" at line ")?;
        let (line, column) = place.split_once(" column ")?;
        Some((pair(line, column)?, message))
    };
    match front().or_else(back) {
        Some((at, message)) => {
            // Both places may be there.
            let suffix = format!(" at line {}, column {}", at.0, at.1);
            (Some(at), message.strip_suffix(&suffix).unwrap_or(message))
        }
        None => (None, text),
    }
}

/// Says a message of the format plainly.
pub(crate) fn plain(message: &str) -> String {
    if let Some(key) = message.strip_prefix("duplicate mapping key") {
        let key = key
            .trim_start_matches(": ")
            .trim_end_matches(", set DuplicateKeyPolicy in Options if acceptable");
        return format!("{} is there twice", if key.is_empty() { "a key" } else { key });
    }
    if message.starts_with("multiple YAML documents detected") {
        return "a second document begins here: a file holds one".to_owned();
    }
    if let Some(kind) = message.strip_prefix("invalid ") {
        let meant = match kind {
            "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => Some("a whole number of 0 or more"),
            "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => Some("a whole number"),
            "f32" | "f64" | "float" | "floating point" => Some("a number"),
            kind if kind.starts_with("bool") => Some("true or false"),
            _ => None,
        };
        if let Some(meant) = meant {
            return format!("it must be {meant}");
        }
    }
    match message {
        "expected mapping start" => return "it must be a mapping".to_owned(),
        "expected string scalar" => return "it must be a text".to_owned(),
        "expected sequence start" => return "it must be a list".to_owned(),
        _ => {}
    }
    match message.split_once("; use Option<") {
        Some((what, _)) => what.replace("cannot deserialize null into string", "null is no text"),
        None => message.to_owned(),
    }
}
