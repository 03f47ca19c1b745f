//! Texts and messages cut to what services take. An ellipsis says that something was cut.

use serde_json::{Map, Value};

/// At most `max` characters; an ellipsis says that something was cut.
pub(crate) fn cut_chars(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// At most `max` bytes, on a character's boundary; an ellipsis says that something was cut.
pub(crate) fn cut_bytes(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// At most `max` bytes as they stand inside a JSON text, where quotes and line ends take two or more.
pub(crate) fn cut_json(text: &str, max: usize) -> String {
    let length = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    };
    if text.chars().map(length).sum::<usize>() <= max {
        return text.to_owned();
    }
    let mut left = max.saturating_sub('…'.len_utf8());
    let fits = |c: &char| {
        let found = left.checked_sub(length(*c));
        left = found.unwrap_or(0);
        found.is_some()
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

/// At most `max` UTF-16 units.
pub(crate) fn cut_utf16(text: &str, max: usize) -> String {
    if text.encode_utf16().count() <= max {
        return text.to_owned();
    }
    let mut left = max.saturating_sub(1);
    let fits = |c: &char| {
        let found = left.checked_sub(c.len_utf16());
        left = found.unwrap_or(0);
        found.is_some()
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

/// HTML of at most `max` UTF-16 units, tags included: no tag or entity is cut through, and tags that are open at the end are
/// closed, so that a service which checks them takes it.
pub(crate) fn cut_html(text: &str, max: usize) -> String {
    let units = |text: &str| text.encode_utf16().count();
    if units(text) <= max {
        return text.to_owned();
    }
    let (mut out, mut used, mut open) = (String::new(), 1, Vec::<&str>::new());
    let closing = |open: &[&str]| open.iter().map(|name| units(name) + 3).sum::<usize>();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '<' => rest.find('>').map(|at| at + 1),
            '&' => rest.find(';').map(|at| at + 1).filter(|end| *end <= 12),
            _ => None,
        };
        let (token, after) = rest.split_at(end.unwrap_or(first.len_utf8()));
        let mut open_after = open.clone();
        if let Some(tag) = token.strip_prefix('<').and_then(|tag| tag.strip_suffix('>')) {
            if tag.starts_with('/') {
                open_after.pop();
            } else if !tag.ends_with('/') {
                open_after.push(tag.split_whitespace().next().unwrap_or_default());
            }
        }
        if used + units(token) + closing(&open_after) > max {
            break;
        }
        (out, used, open) = (out + token, used + units(token), open_after);
        rest = after;
    }
    out.push('…');
    for name in open.iter().rev() {
        out.push_str("</");
        out.push_str(name);
        out.push('>');
    }
    out
}

/// Cuts the longest texts of `details` until `body` takes no more than `max` bytes as JSON. `details`: where they are in it.
pub(crate) fn cut_details(body: &mut Value, details: &str, max: usize) {
    // Texts that short are not what makes it long.
    const KEPT: usize = 256;
    while body.to_string().len() > max {
        let longest = body.pointer_mut(details).and_then(Value::as_object_mut).and_then(|details| {
            let texts = details.values_mut().filter(|value| value.as_str().is_some_and(|t| t.len() > KEPT));
            texts.max_by_key(|value| value.as_str().map_or(0, str::len))
        });
        match longest {
            Some(longest) => {
                let text = longest.as_str().unwrap_or_default();
                *longest = cut_bytes(text, text.len() / 2).into();
            }
            None => {
                if let Some(details) = body.pointer_mut(details) {
                    *details = serde_json::json!({ "error": format!("the details were dropped: the message would be larger than {max} bytes") });
                }
                return;
            }
        }
    }
}

/// Names and texts of at most `max` characters in all: when they are more, each has at most its share.
pub(crate) fn cut_shares(details: Map<String, Value>, max: usize) -> Map<String, Value> {
    let chars = |text: &str| text.chars().count();
    let all: usize = details.iter().map(|(name, text)| chars(name) + text.as_str().map_or(0, chars)).sum();
    if all <= max {
        return details;
    }
    let share = max / details.len();
    let cut = |(name, text): (String, Value)| {
        let left = share.saturating_sub(chars(&name));
        let text = cut_chars(text.as_str().unwrap_or_default(), left);
        (name, Value::from(text))
    };
    details.into_iter().filter(|(name, _)| chars(name) < share).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_and_what_is_cut_fits() {
        type Cut = fn(&str, usize) -> String;
        type Length = fn(&str) -> usize;
        let cuts: [(Cut, Length); 5] = [
            (cut_chars, |text| text.chars().count()),
            (cut_bytes, str::len),
            (cut_json, |text| serde_json::to_string(text).unwrap().len() - 2),
            (cut_utf16, |text| text.encode_utf16().count()),
            (cut_html, |text| text.encode_utf16().count()),
        ];
        let texts = ["plain", "ä€😀 \"quoted\"\n\u{1}", "<b>bold <i>both</i></b> &amp; more", "", "😀😀😀😀"];
        for (at, (cut, length)) in cuts.into_iter().enumerate() {
            for text in texts {
                assert_eq!(cut(text, length(text)), text, "{at}");
                for max in 8..length(text) {
                    let short = cut(text, max);
                    assert!(length(&short) <= max && short.contains('…'), "{at} {max}: {short:?}");
                }
            }
        }
    }

    #[test]
    fn cut_html_is_whole() {
        let text = "<b>one</b> <i>two &lt;3 <code>four five</code></i>";
        assert_eq!(cut_html(text, 100), text);
        assert_eq!(cut_html(text, 14), "<b>one</b> …");
        // An entity or a tag goes as a whole.
        assert_eq!(cut_html(text, 27), "<b>one</b> <i>two &lt;…</i>");
        assert_eq!(cut_html(text, 41), "<b>one</b> <i>two &lt;3 …</i>");
        assert_eq!(cut_html(text, 43), "<b>one</b> <i>two &lt;3 <code>f…</code></i>");
        assert_eq!(cut_html("1 < 2 and more", 6), "1 < 2…");
    }

    #[test]
    fn details_get_shorter_from_the_longest() {
        let mut body = serde_json::json!({ "p": { "d": { "long": "x".repeat(9000), "short": "y" } } });
        cut_details(&mut body, "/p/d", 3000);
        assert!(body.to_string().len() <= 3000);
        assert_eq!(body["p"]["d"]["short"], "y");
        assert!(body["p"]["d"]["long"].as_str().unwrap().len() > 1000);
        // Nothing to cut: they go.
        let mut body = serde_json::json!({ "d": (0..100).map(|n| (n.to_string(), "z".repeat(100).into())).collect::<Map<_, _>>() });
        cut_details(&mut body, "/d", 3000);
        assert!(body["d"]["error"].is_string(), "{body}");
        let details = serde_json::json!({ "a": "x".repeat(500), "b": "y" }).as_object().cloned().unwrap();
        assert_eq!(cut_shares(details.clone(), 600), details);
        let cut = cut_shares(details, 100);
        assert_eq!((cut["a"].as_str().unwrap().chars().count(), &cut["b"]), (49, &Value::from("y")));
    }
}
