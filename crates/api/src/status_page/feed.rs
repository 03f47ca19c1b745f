//! The feeds: RSS 2.0 and JSON Feed 1.1. Each update of an incident is an entry.

use serde_json::{Value, json as value};

use super::html::{escaped, push, written};
use super::shapes::{Incident, Snapshot, Update};

/// Entries in a feed.
const ENTRIES: usize = 100;

fn entries(snapshot: &Snapshot) -> Vec<(&Incident, usize, &Update)> {
    let mut all: Vec<(&Incident, usize, &Update)> = snapshot
        .incidents
        .iter()
        .flat_map(|one| one.updates.iter().enumerate().map(move |(index, update)| (one, index, update)))
        .collect();
    all.sort_by_key(|(incident, index, update)| std::cmp::Reverse((update.at_ms, incident.id, *index)));
    all.truncate(ENTRIES);
    all
}

fn home(snapshot: &Snapshot) -> &str {
    snapshot.url.trim_end_matches('/')
}

fn name(incident: &Incident, index: usize) -> String {
    format!("incident-{}-{}", incident.id, index + 1)
}

fn link(snapshot: &Snapshot, incident: &Incident) -> String {
    format!("{}/history#i{}", home(snapshot), incident.id)
}

pub(super) fn rss(snapshot: &Snapshot) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rss version=\"2.0\"><channel><title>{}</title><link>{}/</link>\
         <description>{}</description><lastBuildDate>{}</lastBuildDate>\n",
        escaped(&snapshot.title),
        escaped(home(snapshot)),
        escaped(if snapshot.about.is_empty() { &snapshot.title } else { &snapshot.about }),
        date(snapshot.generated_ms),
    );
    for (incident, index, update) in entries(snapshot) {
        push(
            &mut out,
            format_args!(
                "<item><guid isPermaLink=\"false\">{}</guid><title>{}: {}</title><link>{}</link><pubDate>{}</pubDate>\
             <description>{}</description></item>\n",
                name(incident, index),
                escaped(&incident.title),
                update.status.words(),
                escaped(&link(snapshot, incident)),
                date(update.at_ms),
                escaped(&update.text),
            ),
        );
    }
    out.push_str("</channel></rss>\n");
    out
}

/// RFC 822, as RSS wants it.
fn date(ms: i64) -> String {
    written(ms, "%a, %d %b %Y %H:%M:%S +0000")
}

pub(super) fn json(snapshot: &Snapshot) -> String {
    let items: Vec<Value> = entries(snapshot)
        .into_iter()
        .map(|(incident, index, update)| {
            value!({
                "id": name(incident, index),
                "url": link(snapshot, incident),
                "title": format!("{}: {}", incident.title, update.status.words()),
                "content_text": update.text,
                "date_published": written(update.at_ms, "%Y-%m-%dT%H:%M:%SZ"),
                "tags": incident.components,
            })
        })
        .collect();
    value!({
        "version": "https://jsonfeed.org/version/1.1",
        "title": snapshot.title,
        "home_page_url": format!("{}/", home(snapshot)),
        "feed_url": format!("{}/feed.json", home(snapshot)),
        "items": items,
    })
    .to_string()
}
