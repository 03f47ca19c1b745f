//! The page as HTML: no script, nothing from elsewhere, readable without style.

use std::fmt::Write;

use jiff::tz::TimeZone;
use model::Timestamp;

use super::shapes::{Component, DAY_MS, Incident, Snapshot, State};

/// Incidents of so many days stand on the page itself.
const RECENT_DAYS: i64 = 14;

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#f6f8fa;--panel:#fff;--line:#dde3ea;--fg:#14202c;--dim:#4a5a6a;--ok:#2a9d8f;--okt:#0d6b5f;--deg:#d99a00;--degt:#8a6100;--out:#b4121b;--outt:#b4121b;--work:#5b5fc7;--workt:#4b4fb8;--none:#d5dce3}\
@media(prefers-color-scheme:dark){:root{--bg:#0a0d12;--panel:#0f141b;--line:#1f2833;--fg:#e7edf4;--dim:#9fb0c0;--ok:#35a394;--okt:#5fc3b0;--deg:#ffd84d;--degt:#ffd84d;--out:#ff4b33;--outt:#ff6a55;--work:#8f7fe0;--workt:#a99cf0;--none:#232c37}}\
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums}\
main{max-width:900px;margin:0 auto;padding:40px 20px 64px}h1{margin:0;font-size:26px}h2{margin:36px 0 10px;font-size:15px}h3{margin:0;font-size:16px}p{margin:0}a{color:inherit}\
header p,.dim,footer,time{color:var(--dim)}.card{padding:0;border:1px solid var(--line);border-radius:10px;background:var(--panel);overflow:hidden}\
.now{display:flex;gap:12px;align-items:center;margin:24px 0 0;padding:18px 20px;border-left:5px solid;font-size:18px;font-weight:600}.now small{margin-left:auto;font-size:13px;font-weight:400;color:var(--dim)}\
.late{margin-top:24px;padding:12px 16px;border:1px solid var(--deg);border-radius:10px;color:var(--degt)}\
.c{padding:14px 20px}.c+.c,.i+.i{border-top:1px solid var(--line)}.c p{display:flex;gap:10px}.c b{font-weight:600}.c span{margin-left:auto;font-weight:600}\
.b{display:flex;gap:2px;height:30px;margin:8px 0 4px}.b i{flex:1;min-width:1px;border-radius:2px;background:var(--ok)}.b .n{background:var(--none)}.b .d{background:linear-gradient(var(--none) 35%,var(--deg) 35%)}.b .o{background:var(--out)}.b .m{background:var(--work)}\
.k{justify-content:space-between;font-size:12px}.k,.k *{color:var(--dim)!important;font-weight:400!important}\
.operational{color:var(--okt)}.degraded{color:var(--degt)}.outage{color:var(--outt)}.maintenance{color:var(--workt)}.unknown{color:var(--dim)}\
.i{padding:16px 20px}.i ol{margin:10px 0 0;padding:0;list-style:none}.i li{margin:8px 0}.i li div{white-space:pre-wrap;overflow-wrap:anywhere}.i time{font-size:13px}\
footer{margin-top:40px;font-size:13px}footer a{margin-right:14px}@media(max-width:600px){.b i:nth-child(-n+45){display:none}}";

/// `text` as it may stand in HTML and XML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML has no place for them.
            c if c.is_control() && c != '\n' && c != '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// In UTC, by a format of `jiff`; empty for a time that no calendar has.
pub(super) fn written(ms: i64, format: &str) -> String {
    let at = jiff::Timestamp::from_millisecond(ms);
    at.map(|at| at.to_zoned(TimeZone::UTC).strftime(format).to_string()).unwrap_or_default()
}

fn when(ms: i64) -> String {
    format!(
        "<time datetime=\"{}\">{}</time>",
        written(ms, "%Y-%m-%dT%H:%M:%SZ"),
        written(ms, "%-d %b %Y, %H:%M UTC")
    )
}

fn head(out: &mut String, snapshot: &Snapshot) {
    let title = escaped(&snapshot.title);
    push(
        out,
        format_args!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta http-equiv=\"refresh\" content=\"60\"><title>{title}</title><link rel=\"icon\" href=\"data:,\">\
             <link rel=\"alternate\" type=\"application/rss+xml\" title=\"{title}\" href=\"/feed.rss\">\
             <link rel=\"alternate\" type=\"application/feed+json\" title=\"{title}\" href=\"/feed.json\">\
             <style>{STYLE}</style></head><body><main><header><h1>{title}</h1>"
        ),
    );
    if !snapshot.about.is_empty() {
        push(out, format_args!("<p>{}</p>", escaped(&snapshot.about)));
    }
    out.push_str("</header>");
}

pub(super) fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string does not fail");
}

fn late(out: &mut String, snapshot: &Snapshot, now: Timestamp) {
    if snapshot.is_stale(now) {
        push(
            out,
            format_args!(
                "<p class=\"late\" role=\"status\">What is shown is from {} and may be out of date: the monitor behind this page has not reported since.</p>",
                when(snapshot.generated_ms)
            ),
        );
    }
}

/// The page.
pub(super) fn page(snapshot: &Snapshot, now: Timestamp) -> String {
    let mut out = String::with_capacity(32 << 10);
    head(&mut out, snapshot);
    late(&mut out, snapshot, now);
    let worst = snapshot.worst();
    let ill = snapshot.components.iter().filter(|one| one.state >= State::Degraded).count();
    let sentence = match worst {
        _ if snapshot.is_stale(now) => "Not known: the monitor is silent".to_owned(),
        State::Operational => "All systems operational".to_owned(),
        State::Unknown => "Some systems are not measured".to_owned(),
        State::Maintenance => "Maintenance under way".to_owned(),
        State::Degraded | State::Outage if ill == 1 => "One system is in trouble".to_owned(),
        State::Degraded | State::Outage => format!("{ill} systems are in trouble"),
    };
    let class = if snapshot.is_stale(now) { "unknown" } else { worst.as_str() };
    push(
        &mut out,
        format_args!(
            "<p class=\"card now {class}\" role=\"status\">{sentence}<small>checked {}</small></p>",
            when(snapshot.generated_ms)
        ),
    );
    let (open, over): (Vec<&Incident>, Vec<&Incident>) =
        snapshot.incidents.iter().partition(|one| one.resolved_ms.is_none());
    if !open.is_empty() {
        out.push_str("<h2>Now</h2>");
        incidents(&mut out, &open, snapshot);
    }
    let mut groups: Vec<&str> = Vec::new();
    for one in &snapshot.components {
        if !groups.contains(&one.group.as_str()) {
            groups.push(&one.group);
        }
    }
    for group in groups {
        push(
            &mut out,
            format_args!(
                "<h2>{}</h2><section class=\"card\">",
                if group.is_empty() { "Components".to_owned() } else { escaped(group) }
            ),
        );
        for one in snapshot.components.iter().filter(|one| one.group == group) {
            component(&mut out, one);
        }
        out.push_str("</section>");
    }
    out.push_str("<h2>Past incidents</h2>");
    let since = now.ms() - RECENT_DAYS * DAY_MS;
    let recent: Vec<&Incident> =
        over.into_iter().filter(|one| one.resolved_ms.is_some_and(|at| at >= since)).collect();
    if recent.is_empty() {
        push(&mut out, format_args!("<p class=\"dim\">None in the last {RECENT_DAYS} days.</p>"));
    } else {
        incidents(&mut out, &recent, snapshot);
    }
    out.push_str(
        "<footer><a href=\"/history\">Older incidents</a><a href=\"/feed.rss\">RSS</a><a href=\"/feed.json\">JSON feed</a><a href=\"/status.json\">JSON</a></footer></main></body></html>",
    );
    out
}

/// Every incident that is kept.
pub(super) fn history(snapshot: &Snapshot, now: Timestamp) -> String {
    let mut out = String::with_capacity(16 << 10);
    head(&mut out, snapshot);
    late(&mut out, snapshot, now);
    out.push_str("<h2>Incidents of the last 90 days</h2>");
    if snapshot.incidents.is_empty() {
        out.push_str("<p class=\"dim\">None.</p>");
    } else {
        incidents(&mut out, &snapshot.incidents.iter().collect::<Vec<_>>(), snapshot);
    }
    out.push_str("<footer><a href=\"/\">Status now</a></footer></main></body></html>");
    out
}

fn component(out: &mut String, one: &Component) {
    push(
        out,
        format_args!(
            "<div class=\"c\"><p><b>{}</b><span class=\"{}\">{}</span></p>",
            escaped(&one.name),
            one.state.as_str(),
            one.state.words()
        ),
    );
    if !one.description.is_empty() {
        push(out, format_args!("<p class=\"dim\">{}</p>", escaped(&one.description)));
    }
    let bad = one.days.iter().filter(|day| day.worst() >= State::Degraded).count();
    push(
        out,
        format_args!(
            "<div class=\"b\" role=\"img\" aria-label=\"{} days, {bad} with trouble\">",
            one.days.len()
        ),
    );
    for day in &one.days {
        let date = || written(day.day * DAY_MS, "%-d %b");
        let minutes = |ms: i64| match ms / 60_000 {
            0 => "less than a minute".to_owned(),
            1 => "1 minute".to_owned(),
            n if n < 120 => format!("{n} minutes"),
            n => format!("{} hours {} minutes", n / 60, n % 60),
        };
        match day.worst() {
            State::Operational => out.push_str("<i></i>"),
            State::Unknown => out.push_str("<i class=n></i>"),
            State::Maintenance => {
                push(out, format_args!("<i class=m title=\"{}: maintenance\"></i>", date()));
            }
            State::Degraded => push(
                out,
                format_args!(
                    "<i class=d title=\"{}: degraded for {}\"></i>",
                    date(),
                    minutes(day.degraded_ms)
                ),
            ),
            State::Outage => push(
                out,
                format_args!("<i class=o title=\"{}: outage of {}\"></i>", date(), minutes(day.outage_ms)),
            ),
        }
    }
    let uptime = match one.uptime() {
        // Never rounded up to a hundred.
        Some(share) => format!("{:.2} % uptime", (share * 10_000.0).floor() / 100.0),
        None => "not measured yet".to_owned(),
    };
    push(
        out,
        format_args!(
            "</div><p class=\"k\"><i>{} days ago</i><i>{uptime}</i><i>today</i></p></div>",
            one.days.len()
        ),
    );
}

fn incidents(out: &mut String, list: &[&Incident], snapshot: &Snapshot) {
    out.push_str("<section class=\"card\">");
    for one in list {
        let names: Vec<String> = one
            .components
            .iter()
            .map(|id| {
                let known = snapshot.components.iter().find(|component| &component.id == id);
                escaped(known.map_or(id, |component| &component.name))
            })
            .collect();
        push(
            out,
            format_args!(
                "<article class=\"i\" id=\"i{}\"><h3 class=\"{}\">{}</h3><p class=\"dim\">{}{}{}</p><ol>",
                one.id,
                if one.resolved_ms.is_some() { "" } else { one.impact.state().as_str() },
                escaped(&one.title),
                one.impact.words(),
                if names.is_empty() { String::new() } else { format!(" · {}", names.join(", ")) },
                match one.ends_ms {
                    Some(end) => format!(" · {} to {}", when(one.starts_ms), when(end)),
                    None => String::new(),
                }
            ),
        );
        for update in one.updates.iter().rev() {
            push(
                out,
                format_args!(
                    "<li><b>{}</b> {}<div>{}</div></li>",
                    update.status.words(),
                    when(update.at_ms),
                    escaped(&update.text)
                ),
            );
        }
        out.push_str("</ol></article>");
    }
    out.push_str("</section>");
}
