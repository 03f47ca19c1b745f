//! What becomes of every field of an upload: the list from which the privacy page is made.
//!
//! The code that reads uploads ([`crate::report`]) knows no other field, so nothing beyond this list can be kept.

use serde::Serialize;

/// What is kept of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Kept as it is.
    Kept,
    /// Only the named reduction is kept.
    Reduced,
    /// Used in memory while the upload is handled, then gone.
    Used,
    /// Not read at all, or read and dropped.
    Dropped,
}

/// A field of an upload and its fate.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Field {
    /// Where it is: a header, the envelope, the body.
    pub place: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// What is kept, or why it is needed.
    pub kept: &'static str,
}

const fn field(place: &'static str, name: &'static str, fate: Fate, kept: &'static str) -> Field {
    Field { place, name, fate, kept }
}

/// Every field that a browser or an agent may send.
pub const FIELDS: &[Field] = &[
    field(
        "connection",
        "client address",
        Fate::Reduced,
        "country and autonomous system, by a local database; a keyed hash of the network prefix lives in memory for a day to count each client once",
    ),
    field(
        "header",
        "User-Agent",
        Fate::Reduced,
        "browser family: one of chrome, edge, firefox, safari, opera, samsung, headless, bot, other",
    ),
    field("header", "Origin", Fate::Used, "must be an origin of the site"),
    field("header", "Cookie, Authorization, Referer, Accept-Language", Fate::Dropped, "never read"),
    field("envelope", "type", Fate::Kept, "the kind of report"),
    field("envelope", "url", Fate::Reduced, "origin: scheme, host, port; no user, path, query or fragment"),
    field("envelope", "age", Fate::Reduced, "the minute of the event"),
    field("envelope", "user_agent", Fate::Reduced, "browser family, as for the header"),
    field("body", "phase", Fate::Used, "must fit the type"),
    field("body", "type", Fate::Kept, "the type of error, from a fixed list"),
    field("body", "status_code", Fate::Reduced, "whether it is 4xx or 5xx"),
    field("body", "protocol", Fate::Reduced, "http/1.1, h2, h3 or other"),
    field(
        "body",
        "server_ip",
        Fate::Reduced,
        "the name of the point of presence that the operator gave it, else its public /24 or /48",
    ),
    field("body", "sampling_fraction", Fate::Reduced, "the weight in rates"),
    field("body", "count", Fate::Kept, "how many requests an agent's entry stands for"),
    field("body", "method", Fate::Used, "tells a repeated upload from a new report, as a hash in memory"),
    field(
        "body",
        "elapsed_time",
        Fate::Used,
        "tells a repeated upload from a new report, as a hash in memory; no timing is kept",
    ),
    field("body", "referrer", Fate::Dropped, "never read"),
    field("body", "any other", Fate::Dropped, "never read"),
];

/// The list as a Markdown table, for the privacy page.
pub fn markdown() -> String {
    let mut out = String::from("| where | field | fate | what is kept, or what for |\n|---|---|---|---|\n");
    for field in FIELDS {
        let fate = match field.fate {
            Fate::Kept => "kept",
            Fate::Reduced => "reduced",
            Fate::Used => "used, not kept",
            Fate::Dropped => "dropped",
        };
        out.push_str(&format!("| {} | {} | {fate} | {} |\n", field.place, field.name, field.kept));
    }
    out
}
