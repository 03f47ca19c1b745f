//! Which group a process belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use model::pattern::{Pattern, last_line};
use parking_lot::Mutex;
use regex::Regex;

use super::config::ProcessConfig;
use super::files;
use crate::error::Error;

/// What is known of a process besides its numbers. Shared by all that were forked from it without a new program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub group: Arc<str>,
    pub comm: Arc<str>,
    pub unit: Arc<str>,
    pub container: Arc<str>,
}

/// Why a group is critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A setting says so.
    Declared,
    /// It has run for long.
    Learned,
}

/// The group of processes that no other group takes, and of those beyond the limit.
pub(crate) const OTHER: &str = "other";

/// The rules, compiled.
pub(crate) struct Groups {
    rules: Vec<Rule>,
    critical: Mutex<BTreeMap<String, Source>>,
    max: usize,
    /// Names in use.
    names: Mutex<BTreeSet<Arc<str>>>,
    procfs: PathBuf,
    /// Whether a rule needs more than the name and the control group.
    needs: Needs,
}

#[derive(Clone, Copy, Default)]
struct Needs {
    exe: bool,
    cmdline: bool,
    user: bool,
}

struct Rule {
    name: String,
    comm: Vec<String>,
    exe: Vec<String>,
    cmdline: Vec<Regex>,
    unit: Option<Pattern>,
    user: Option<Pattern>,
}

/// What a rule looks at.
#[derive(Default)]
struct Facts<'a> {
    pid: u32,
    comm: &'a str,
    exe: String,
    cmdline: String,
    user: String,
    cgroup: &'a str,
    unit: &'a str,
}

impl Groups {
    pub(crate) fn new(config: &ProcessConfig, procfs: PathBuf) -> Result<Self, Error> {
        let mut rules = Vec::with_capacity(config.groups.len());
        let mut needs = Needs::default();
        for (index, group) in config.groups.iter().enumerate() {
            let setting = |field: &str, reason: String| Error::Setting {
                field: format!("processes.groups[{index}].{field}"),
                reason,
            };
            let pattern = |field: &str, text: &str| match text {
                "" => Ok(None),
                text => Pattern::new(text).map(Some).map_err(|err| setting(field, err.to_string())),
            };
            let cmdline = group.cmdline.iter().map(|text| {
                // Go writes `(?P<name>…)`, which this library takes as well.
                Regex::new(text).map_err(|err| {
                    let reason = last_line(&err.to_string());
                    setting("cmdline", format!("{text:?} is no regular expression: {reason}"))
                })
            });
            let rule = Rule {
                name: if group.name.is_empty() { "{{.Comm}}".to_owned() } else { group.name.clone() },
                comm: group.comm.clone(),
                exe: group.exe.clone(),
                cmdline: cmdline.collect::<Result<_, _>>()?,
                unit: pattern("unit", &group.unit)?,
                user: pattern("user", &group.user)?,
            };
            needs.exe |= !rule.exe.is_empty() || rule.name.contains("{{.Exe");
            needs.cmdline |= !rule.cmdline.is_empty();
            needs.user |= rule.user.is_some() || rule.name.contains("{{.Username}}");
            rules.push(rule);
        }
        Ok(Self {
            rules,
            critical: Mutex::new(
                config.critical.iter().map(|name| (name.clone(), Source::Declared)).collect(),
            ),
            max: config.max_groups.max(1),
            names: Mutex::default(),
            procfs,
            needs,
        })
    }

    /// Critical groups, and why they are.
    pub(crate) fn critical(&self) -> Vec<(String, Source)> {
        self.critical.lock().iter().map(|(name, source)| (name.clone(), *source)).collect()
    }

    pub(crate) fn is_critical(&self, name: &str) -> bool {
        self.critical.lock().contains_key(name)
    }

    /// Makes a group critical that has run for long; one that was declared stays as it is.
    pub(crate) fn learn(&self, name: &str) {
        let mut critical = self.critical.lock();
        if critical.len() < self.max {
            critical.entry(name.to_owned()).or_insert(Source::Learned);
        }
    }

    /// Reads what a process is. The kernel keeps the name and the control group until it is reaped.
    pub(crate) fn identify(&self, pid: u32, comm: &str) -> Identity {
        let folder = self.procfs.join(pid.to_string());
        let cgroup_text = std::fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
        let cgroup = files::cgroup(&cgroup_text);
        let unit = files::unit(cgroup);
        let mut facts = Facts { pid, comm, cgroup, unit, ..Facts::default() };
        if self.needs.exe {
            let exe = std::fs::read_link(folder.join("exe")).unwrap_or_default();
            facts.exe = exe.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
        }
        if self.needs.cmdline {
            let bytes = std::fs::read(folder.join("cmdline")).unwrap_or_default();
            facts.cmdline = String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ");
        }
        if self.needs.user {
            facts.user = user(&std::fs::read_to_string(folder.join("status")).unwrap_or_default());
        }
        let name = self.name(&facts);
        let name = self.admit(&name);
        Identity {
            group: name,
            comm: comm.into(),
            unit: unit.into(),
            container: files::container(cgroup).into(),
        }
    }

    fn name(&self, facts: &Facts<'_>) -> String {
        if self.rules.is_empty() {
            return facts.comm.to_owned();
        }
        let name = self.rules.iter().find_map(|rule| rule.name(facts)).filter(|name| !name.is_empty());
        name.unwrap_or_else(|| OTHER.to_owned())
    }

    /// The name, or `other` when there are too many.
    fn admit(&self, name: &str) -> Arc<str> {
        let mut names = self.names.lock();
        if let Some(known) = names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> =
            if names.len() < self.max || self.is_critical(name) { name } else { OTHER }.into();
        names.insert(Arc::clone(&name));
        name
    }

    /// Gives up a name that nobody has any more.
    pub(crate) fn forget(&self, name: &str) {
        self.names.lock().remove(name);
    }
}

impl Rule {
    /// The group's name when the process fits.
    fn name(&self, facts: &Facts<'_>) -> Option<String> {
        let exe_base = facts.exe.rsplit('/').next().unwrap_or_default();
        let fits_exe = |wanted: &String| {
            if wanted.contains('/') { *wanted == facts.exe } else { wanted == exe_base }
        };
        let fits = (self.comm.is_empty() || self.comm.iter().any(|comm| comm == facts.comm))
            && (self.exe.is_empty() || self.exe.iter().any(fits_exe))
            && self.unit.as_ref().is_none_or(|unit| unit.matches(facts.unit))
            && self.user.as_ref().is_none_or(|user| user.matches(&facts.user));
        if !fits {
            return None;
        }
        let mut name = self.name.clone();
        for regex in &self.cmdline {
            let captures = regex.captures(&facts.cmdline)?;
            for group in regex.capture_names().flatten() {
                let value = captures.name(group).map_or("", |found| found.as_str());
                name = name.replace(&format!("{{{{.Matches.{group}}}}}"), value);
            }
        }
        for (mark, value) in [
            ("{{.Comm}}", facts.comm),
            ("{{.ExeBase}}", exe_base),
            ("{{.ExeFull}}", &facts.exe),
            ("{{.Username}}", &facts.user),
            ("{{.Unit}}", facts.unit),
            ("{{.Cgroup}}", facts.cgroup),
        ] {
            name = name.replace(mark, value);
        }
        Some(name.replace("{{.PID}}", &facts.pid.to_string()))
    }
}

/// The user's name, from the effective user id and /etc/passwd; the number when it has no name.
fn user(status: &str) -> String {
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().nth(1));
    let Some(uid) = uid else { return String::new() };
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::config::GroupConfig;

    fn groups(list: Vec<GroupConfig>, max: usize) -> Groups {
        let config = ProcessConfig {
            groups: list,
            max_groups: max,
            critical: vec!["must".into()],
            ..ProcessConfig::default()
        };
        Groups::new(&config, "/proc".into()).unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_names_the_group() {
        let groups = groups(
            vec![
                GroupConfig {
                    name: "java-{{.Matches.app}}".into(),
                    comm: vec!["java".into()],
                    cmdline: vec![r"-Dapp=(?P<app>\w+)".into()],
                    ..GroupConfig::default()
                },
                GroupConfig {
                    name: "{{.Unit}}".into(),
                    unit: r".+\.service".into(),
                    ..GroupConfig::default()
                },
                GroupConfig { exe: vec!["postgres".into()], ..GroupConfig::default() },
            ],
            10,
        );
        let name = |comm: &str, cmdline: &str, unit: &str, exe: &str| {
            let facts = Facts { comm, cmdline: cmdline.into(), unit, exe: exe.into(), ..Facts::default() };
            groups.name(&facts)
        };
        assert_eq!(name("java", "java -Dapp=shop -jar x", "", ""), "java-shop");
        assert_eq!(name("java", "java -jar x", "tomcat.service", ""), "tomcat.service");
        assert_eq!(name("pg", "", "", "/usr/lib/postgresql/15/bin/postgres"), "pg");
        assert_eq!(name("bash", "", "", "/bin/bash"), OTHER);
    }

    #[test]
    fn groups_are_bounded_and_critical_ones_always_fit() {
        let groups = groups(Vec::new(), 2);
        let admitted: Vec<String> =
            ["a", "b", "c", "a", "must"].iter().map(|name| groups.admit(name).to_string()).collect();
        assert_eq!(admitted, ["a", "b", OTHER, "a", "must"]);
        groups.forget("a");
        groups.forget(OTHER);
        groups.forget("must");
        assert_eq!(&*groups.admit("c"), "c");
    }

    #[test]
    fn a_bad_pattern_names_its_place() {
        let config = ProcessConfig {
            groups: vec![GroupConfig { cmdline: vec!["(".into()], ..GroupConfig::default() }],
            ..ProcessConfig::default()
        };
        let err = Groups::new(&config, "/proc".into()).err().unwrap().to_string();
        assert!(err.contains("processes.groups[0].cmdline"), "{err}");
    }
}
