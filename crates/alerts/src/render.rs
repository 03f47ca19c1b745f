//! Texts of notifications from templates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Clock;
use template::{Functions, Options, TemplateSet, Value};

use crate::defaults;
use crate::error::Error;
use crate::functions::functions;
use crate::message::Data;

/// The default templates and the user's, ready to be executed. Cheap to clone.
#[derive(Clone)]
pub struct Renderer {
    set: Arc<TemplateSet>,
    functions: Arc<Functions>,
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Renderer({} templates)", self.set.names().count())
    }
}

impl Renderer {
    /// The default templates, then the files that the globs name, in order; later definitions replace earlier ones.
    ///
    /// # Errors
    /// `File` when one cannot be read, `Template` with Go's text when one does not parse.
    pub fn new(globs: &[PathBuf], clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::with_texts(globs, &[], clock)
    }

    /// As [`Renderer::new`], then named texts that are no files.
    ///
    /// # Errors
    /// As [`Renderer::new`].
    pub fn with_texts(
        globs: &[PathBuf],
        texts: &[(String, String)],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let functions = functions(clock);
        let names = functions.names();
        let mut set = TemplateSet::new();
        let failed = |err: template::Error| Error::Template(err.to_string());
        set.add("default.tmpl", defaults::TEXT, &names).map_err(failed)?;
        set.add("email.tmpl", defaults::HTML, &names).map_err(failed)?;
        for (path, name, text) in files(globs)? {
            let failed = |err| Error::Template(format!("{}: {err}", path.display()));
            set.add(&name, &text, &names).map_err(failed)?;
        }
        for (name, text) in texts {
            set.add(name, text, &names).map_err(|err| Error::Template(format!("{name}: {err}")))?;
        }
        Ok(Self { set: Arc::new(set), functions: Arc::new(functions) })
    }

    fn run(&self, text: &str, data: &Value, html: bool) -> Result<String, Error> {
        let options = Options { html, ..Options::default() };
        self.set
            .execute_text(text, data, &self.functions, &options)
            .map_err(|err| Error::Template(err.to_string()))
    }

    /// A setting with templates in it as plain text.
    ///
    /// # Errors
    /// `Template` with Go's text.
    pub fn text(&self, text: &str, data: &Arc<Data>) -> Result<String, Error> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        self.run(text, &Value::object(Data::clone(data)), false)
    }

    /// A setting with templates in it as HTML: values are escaped for where they stand.
    ///
    /// # Errors
    /// `Template` with Go's text.
    pub fn html(&self, text: &str, data: &Arc<Data>) -> Result<String, Error> {
        self.run(text, &Value::object(Data::clone(data)), true)
    }

    /// Every text inside a JSON value.
    ///
    /// # Errors
    /// `Template` with Go's text.
    pub fn json(&self, value: &serde_json::Value, data: &Arc<Data>) -> Result<serde_json::Value, Error> {
        Ok(match value {
            serde_json::Value::String(text) => self.text(text, data)?.into(),
            serde_json::Value::Array(items) => {
                items.iter().map(|item| self.json(item, data)).collect::<Result<_, _>>()?
            }
            serde_json::Value::Object(map) => {
                let entries =
                    map.iter().map(|(name, value)| Ok((self.text(name, data)?, self.json(value, data)?)));
                serde_json::Value::Object(entries.collect::<Result<_, Error>>()?)
            }
            other => other.clone(),
        })
    }
}

/// The files that globs name, in order: name and text.
///
/// # Errors
/// `File` when one cannot be read.
pub fn read_files(globs: &[PathBuf]) -> Result<Vec<(String, String)>, Error> {
    Ok(files(globs)?.into_iter().map(|(_, name, text)| (name, text)).collect())
}

/// The files that globs name, in order: path, name and text.
fn files(globs: &[PathBuf]) -> Result<Vec<(PathBuf, String, String)>, Error> {
    let mut files = Vec::new();
    for glob in globs {
        for path in expand(glob)? {
            let read = std::fs::read_to_string(&path);
            let text = read.map_err(|source| Error::File { what: "template", path: path.clone(), source })?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((path, name, text));
        }
    }
    Ok(files)
}

/// The files that a pattern names, sorted: `*`, `?` and `[…]` in any part of the path.
fn expand(glob: &Path) -> Result<Vec<PathBuf>, Error> {
    let wild = |text: &str| text.contains(['*', '?', '[']);
    let mut found = vec![PathBuf::new()];
    for part in glob.components() {
        let part = part.as_os_str();
        let text = part.to_string_lossy();
        if !wild(&text) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let pattern = pattern_of(&text)?;
        let mut next = Vec::new();
        for folder in found {
            let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            // A folder that does not exist has no files, as with Go's `filepath.Glob`.
            let Ok(entries) = std::fs::read_dir(listed) else { continue };
            let names = entries.flatten().map(|entry| entry.file_name());
            next.extend(
                names.filter(|name| pattern.is_match(&name.to_string_lossy())).map(|n| folder.join(n)),
            );
        }
        next.sort();
        found = next;
    }
    // A name without wild cards must exist; saying so is the reader's business.
    let any_wild = wild(&glob.to_string_lossy());
    found.retain(|path| !any_wild || path.is_file());
    Ok(found)
}

fn pattern_of(glob: &str) -> Result<regex::Regex, Error> {
    let mut source = String::from("^");
    let mut in_class = false;
    for c in glob.chars() {
        match c {
            '[' | ']' => {
                in_class = c == '[';
                source.push(c);
            }
            '*' if !in_class => source.push_str(".*"),
            '?' if !in_class => source.push('.'),
            '^' | '-' if in_class => source.push(c),
            c => source.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    source.push('$');
    regex::Regex::new(&source).map_err(|_| Error::Template(format!("{glob:?} is no file pattern")))
}

#[cfg(test)]
mod tests {
    use model::time::SystemClock;
    use model::{Alert, Labels, Timestamp};

    use super::*;

    fn data() -> Arc<Data> {
        let alert = |instance: &str, ends: i64| {
            Arc::new(Alert {
                labels: Labels::from_pairs([("alertname", "Down"), ("instance", instance), ("zone", "z")]),
                annotations: Labels::from_pairs([("summary", "<b>it</b> broke")]),
                starts_at: Timestamp(1_700_000_000_000),
                ends_at: Timestamp(ends),
                updated_at: Timestamp(0),
                generator_url: "http://g.example/?a=1&b=2".into(),
            })
        };
        let group = Labels::from_pairs([("alertname", "Down")]);
        let alerts = [alert("a", i64::MAX), alert("b", 1_700_000_060_000)];
        Arc::new(Data::new(
            "team.x",
            "http://bw.example",
            &group,
            &alerts,
            usize::MAX,
            Timestamp(1_700_000_100_000),
        ))
    }

    fn check(renderer: &Renderer, text: &str, wanted: &str) {
        assert_eq!(
            renderer.text(text, &data()).as_deref().map_err(ToString::to_string),
            Ok(wanted),
            "{text}"
        );
    }

    #[test]
    fn users_templates_find_alertmanagers_data() {
        let renderer = Renderer::new(&[], Arc::new(SystemClock)).unwrap();
        for (text, wanted) in [
            ("{{ .Status | toUpper }} {{ .Receiver }}", r"FIRING team\.x"),
            ("{{ len .Alerts.Firing }}/{{ len .Alerts.Resolved }}", "1/1"),
            ("{{ range .Alerts }}{{ .Labels.instance }}:{{ .Status }} {{ end }}", "a:firing b:resolved "),
            ("{{ .CommonLabels.SortedPairs.Names | join \",\" }}", "alertname,zone"),
            (
                "{{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }};{{ end }}",
                "alertname=Down;zone=z;",
            ),
            ("{{ (.CommonLabels.Remove .GroupLabels.Names).Values | join \" \" }}", "z"),
            ("{{ .CommonLabels.nothing }}|{{ with .CommonLabels.nothing }}x{{ end }}", "|"),
            ("{{ (index .Alerts 0).StartsAt.Format \"2006-01-02 15:04\" }}", "2023-11-14 22:13"),
            ("{{ (index .Alerts 0).StartsAt | tz \"Europe/Paris\" | date \"15:04 MST\" }}", "23:13 CET"),
            ("{{ (index .Alerts 1).EndsAt.Unix }}", "1700000060"),
            ("{{ reReplaceAll \"(D)own\" \"${1}ead\" .GroupLabels.alertname }}", "Dead"),
            ("{{ match \"^Do\" .GroupLabels.alertname }} {{ title \"a b\" }}", "true A B"),
            ("{{ stringSlice \"a\" \"b\" | join \"-\" }} {{ trimSpace \" x \" }}", "a-b x"),
            ("{{ humanizeDuration 93784 }} {{ humanizeDuration 0.0015 }}", "1d 2h 3m 4s 1.5ms"),
            (
                "{{ toJson .GroupLabels }} {{ (index .Alerts 0).Fingerprint | len }}",
                r#"{"alertname":"Down"} 16"#,
            ),
            ("{{ (dict \"k\" (list 1 2)).k | toJson }}", "[1,2]"),
            ("{{ template \"__subject\" . }}", "[FIRING:1] Down (z)"),
        ] {
            check(&renderer, text, wanted);
        }
        assert!(renderer.text("{{ .Nothing }}", &data()).is_err());
        let html = renderer.html(r#"{{ template "email.default.html" . }}"#, &data()).unwrap();
        assert!(html.contains("&lt;b&gt;it&lt;/b&gt; broke") && html.contains("Resolved"), "{html}");
    }

    #[test]
    fn files_replace_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.tmpl", r#"{{ define "__subject" }}mine: {{ .Status }}{{ end }}"#);
        write("b.txt", "{{ broken");
        let glob = [folder.path().join("*.tmpl")];
        let renderer = Renderer::new(&glob, Arc::new(SystemClock)).unwrap();
        check(&renderer, r#"{{ template "slack.default.title" . }}"#, "mine: firing");
        assert!(Renderer::new(&[folder.path().join("?.txt")], Arc::new(SystemClock)).is_err());
        assert!(Renderer::new(&[folder.path().join("missing.tmpl")], Arc::new(SystemClock)).is_err());
        assert!(Renderer::new(&[folder.path().join("none-*.tmpl")], Arc::new(SystemClock)).is_ok());
    }
}
