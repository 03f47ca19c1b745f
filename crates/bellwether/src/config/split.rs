//! One file, two readers: Prometheus' sections go to `sources`, ours to this crate, each with its lines where they were, so that
//! both name the right line in an error.

/// A YAML text taken apart: in each half the other's lines are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Halves {
    /// Prometheus' sections, and whatever is not recognised, so that it is refused there by name.
    pub prometheus: String,
    /// Our sections.
    pub ours: String,
}

/// Splits by top-level keys. `ours` lists sections that are ours; of a `shared` section, the listed keys are Prometheus' and the
/// others ours.
pub(crate) fn split(text: &str, ours: &[&str], shared: (&str, &[&str])) -> Halves {
    let mut halves = Halves { prometheus: String::new(), ours: String::new() };
    let mut section = Owner::Prometheus;
    // Within the shared section: how far its keys are indented, and whose the current one is.
    let mut child: Option<(usize, bool)> = None;
    // Where the shared section's own line is in our half, until a line of ours follows it: alone it would be a null section.
    let mut lone: Option<std::ops::Range<usize>> = None;
    for line in text.split_inclusive('\n') {
        let (to_ours, to_prometheus) = match key(line) {
            Some((0, name)) => {
                child = None;
                blank(&mut halves.ours, lone.take());
                section = if name == shared.0 && opens_block(line) {
                    Owner::Shared
                } else if ours.contains(&name) {
                    Owner::Ours
                } else {
                    Owner::Prometheus
                };
                (section != Owner::Prometheus, section != Owner::Ours)
            }
            found if section == Owner::Shared => {
                if let Some((indent, name)) = found
                    && child.is_none_or(|(first, _)| indent <= first)
                {
                    child = Some((indent, !shared.1.contains(&name)));
                }
                let mine = child.is_some_and(|(_, mine)| mine);
                if mine {
                    lone = None;
                }
                (mine, !mine)
            }
            _ => (section == Owner::Ours, section == Owner::Prometheus),
        };
        if section == Owner::Shared && child.is_none() && to_ours && to_prometheus {
            lone = Some(halves.ours.len()..halves.ours.len() + line.trim_end_matches(['\r', '\n']).len());
        }
        for (half, keep) in [(&mut halves.ours, to_ours), (&mut halves.prometheus, to_prometheus)] {
            half.push_str(if keep { line } else { line_end(line) });
        }
    }
    blank(&mut halves.ours, lone);
    halves
}

/// Removes a line's text and keeps its place.
fn blank(half: &mut String, line: Option<std::ops::Range<usize>>) {
    if let Some(line) = line {
        half.replace_range(line, "");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Prometheus,
    Ours,
    Shared,
}

/// Indentation and name of a line that begins with `name:`.
fn key(line: &str) -> Option<(usize, &str)> {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let (name, rest) = line.trim_start_matches(' ').split_once(':')?;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    (plain && (rest.is_empty() || rest.starts_with([' ', '\n', '\r', '\t']))).then_some((indent, name))
}

/// Whether nothing but a comment follows the colon.
fn opens_block(line: &str) -> bool {
    line.split_once(':').is_some_and(|(_, rest)| {
        let rest = rest.trim();
        rest.is_empty() || rest.starts_with('#')
    })
}

fn line_end(line: &str) -> &str {
    if line.ends_with('\n') { "\n" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_gets_its_lines_in_place() {
        let text = "global:\n  a: 1\nweb:\n  listen_address: x\nstorage:\n  path: /d\n  tsdb:\n    retention: 1d\n  wal:\n    b: c\nweird: 1\n";
        let halves = split(text, &["web"], ("storage", &["tsdb", "exemplars"]));
        assert_eq!(
            halves.prometheus,
            "global:\n  a: 1\n\n\nstorage:\n\n  tsdb:\n    retention: 1d\n\n\nweird: 1\n"
        );
        assert_eq!(
            halves.ours,
            "\n\nweb:\n  listen_address: x\nstorage:\n  path: /d\n\n\n  wal:\n    b: c\n\n"
        );
    }

    #[test]
    fn a_shared_section_without_lines_of_ours_is_prometheus_alone() {
        let text = "storage:\n  tsdb:\n    out_of_order_time_window: 30m\nglobal:\n  a: 1\n";
        for text in [text, "a: 1\nstorage:\n  exemplars:\n    max_exemplars: 5\n"] {
            let halves = split(text, &["web"], ("storage", &["tsdb", "exemplars"]));
            assert_eq!(halves.prometheus, text);
            assert_eq!(halves.ours.trim(), "", "{:?}", halves.ours);
            assert_eq!(halves.ours.lines().count(), text.lines().count());
        }
    }

    #[test]
    fn text_without_sections_stays_whole() {
        for text in ["", "{global: {}}", "- a\n- b", "# only a comment\n"] {
            assert_eq!(split(text, &["web"], ("storage", &[])).prometheus, text);
        }
    }
}
