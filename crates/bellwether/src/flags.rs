//! Settings on the command line and in the environment: ours, Prometheus' spellings of them, and what Prometheus has and we do not.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches};
use sources::config::ByteSize;

use crate::config::leaves::Leaf;
use crate::config::overrides::{Origin, Override};
use crate::config::{self, Given};

/// Prometheus' spellings of our settings.
const PROMETHEUS_FLAGS: &[(&str, &str)] = &[
    ("storage.tsdb.path", "storage.path"),
    ("storage.tsdb.retention.time", "storage.retention"),
    ("web.listen-addresses", "web.listen-address"),
    ("web.config.file", "web.config-file"),
    ("query.max-concurrent", "query.max-concurrency"),
    ("web.cors.origin", "web.cors-origin"),
    ("alertmanager.config.file", "alerts.config-file"),
    ("rules.alert.for-outage-tolerance", "rules.evaluation.for-outage-tolerance"),
    ("rules.alert.for-grace-period", "rules.evaluation.for-grace-period"),
    ("rules.alert.resend-delay", "rules.evaluation.resend-delay"),
];

/// Prometheus' flag for `storage.retention_bytes`, which has units.
const RETENTION_SIZE: &str = "storage.tsdb.retention.size";

/// Prometheus' flags that are accepted, so that a command line for it starts this server, and have no effect; with why.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("web.local-assets", "the page is compiled in"),
    ("rules.max-concurrent-evals", "independent rules run beside each other, four at once"),
    ("storage.remote.read-sample-limit", "query.max_samples bounds what a remote read may take"),
    ("storage.remote.read-concurrent-limit", "connections are bounded by web.max_connections"),
    ("storage.remote.read-max-bytes-in-frame", "frames have the size that is Prometheus' default"),
    ("web.remote-write-receiver.accepted-protobuf-messages", "both messages are accepted"),
    ("web.console.templates", "there are no console templates"),
    ("web.console.libraries", "there are no console templates"),
    ("web.user-assets", "the page is compiled in"),
    ("storage.tsdb.min-block-duration", "blocks are cut by storage.block_range"),
    ("storage.tsdb.max-block-duration", "blocks are merged by storage.block_range"),
    ("storage.tsdb.wal-compression", "the log is compact as it is"),
    ("storage.tsdb.wal-compression-type", "the log is compact as it is"),
    ("storage.tsdb.no-lockfile", "two processes on one folder destroy it"),
    ("storage.tsdb.allow-overlapping-blocks", "late samples are always merged"),
    ("storage.tsdb.head-chunks-write-queue-size", "there is no such queue"),
    ("auto-gomaxprocs", "there is no Go runtime"),
    ("auto-gomemlimit", "there is no Go runtime"),
    ("auto-gomemlimit.ratio", "there is no Go runtime"),
    (
        "storage.remote.flush-deadline",
        "what was not sent stays in the spool and is sent after the next start",
    ),
    ("alertmanager.notification-batch-size", "alerts go to the built-in alert manager without a queue"),
    ("alertmanager.drain-notification-queue-on-shutdown", "the built-in alert manager keeps its state"),
    ("alertmanager.notification-queue-capacity", "alerts go to the built-in alert manager without a queue"),
];

/// Variables that begin like settings and are none.
const OTHER_VARIABLES: &[&str] = &[
    "BELLWETHER_AGENT_LISTEN_ADDRESS",
    "BELLWETHER_CONFIG_FILE",
    "BELLWETHER_CONFORMANCE",
    "BELLWETHER_PEERS",
    "BELLWETHER_PROBE_CONFIG_FILE",
    "BELLWETHER_PROBE_LISTEN_ADDRESS",
    "BELLWETHER_PROBE_SERVER",
    "BELLWETHER_SCRAPE",
];
/// What begins the variables of settings.
const PREFIX: &str = "BELLWETHER_";

/// Every flag that stands for a setting, and those of Prometheus that stand for none.
pub(crate) fn all() -> impl Iterator<Item = Arg> {
    let size = Arg::new(RETENTION_SIZE)
        .long(RETENTION_SIZE)
        .value_name("SIZE")
        .hide(true)
        .help("Prometheus' spelling of storage.retention-bytes, with a unit: 512MB, 10GB");
    let without = WITHOUT_EFFECT.iter().map(|(name, why)| {
        Arg::new(*name)
            .long(*name)
            .value_name("VALUE")
            .num_args(0..=1)
            .default_missing_value("true")
            .hide(true)
            .help(format!("Accepted without effect: {why}"))
    });
    config::server_leaves().map(flag).chain([size]).chain(without)
}

pub(crate) fn flag(leaf: &Leaf) -> Arg {
    let name = leaf.flag();
    let aliases = PROMETHEUS_FLAGS.iter().filter(|(_, ours)| *ours == name).map(|(theirs, _)| *theirs);
    let mut aliases: Vec<String> = aliases.map(str::to_owned).collect();
    let underscored = leaf.path.join(".");
    if underscored != name {
        aliases.push(underscored);
    }
    let mut help = leaf.help.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    if let Some(default) = leaf.default.as_deref().filter(|default| !default.is_empty()) {
        help.push_str(&format!(" [default: {default}]"));
    }
    let mut arg = Arg::new(name.clone())
        .long(name)
        .value_name("VALUE")
        .aliases(aliases)
        .help(help)
        .help_heading(format!("Settings under {}", leaf.path[0]));
    if leaf.is_bool {
        arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    if !leaf.choices.is_empty() {
        arg = arg.value_parser(PossibleValuesParser::new(leaf.choices.clone()));
    }
    arg
}

/// Prometheus' way to switch something off: `--no-web.enable-lifecycle` is `--web.enable-lifecycle=false`. `None` when there
/// is no such switch.
pub(crate) fn switched_off(argument: &str) -> Option<String> {
    let name = argument.strip_prefix("--no-")?;
    let ours = PROMETHEUS_FLAGS.iter().find(|(theirs, _)| *theirs == name).map_or(name, |(_, ours)| ours);
    let is_switch = |leaf: &Leaf| leaf.is_bool && (leaf.flag() == ours || leaf.path.join(".") == ours);
    if config::leaves().iter().any(is_switch) {
        return Some(format!("--{ours}=false"));
    }
    WITHOUT_EFFECT.iter().any(|(without, _)| *without == name).then(|| format!("--{name}=false"))
}

/// What the environment and the flags say of these settings: environment first, flags after, so that flags win.
pub(crate) fn overrides<'a>(
    matches: &ArgMatches,
    leaves: impl IntoIterator<Item = &'a Leaf>,
) -> Vec<Override> {
    let mut overrides = Vec::new();
    for leaf in leaves {
        let mut push =
            |text: String, origin| overrides.push(Override { path: leaf.path.clone(), text, origin });
        if let Some(text) = std::env::var_os(leaf.variable()) {
            push(text.to_string_lossy().into_owned(), Origin::Variable(leaf.variable()));
        }
        let name = leaf.flag();
        if let Some(text) = matches.get_one::<String>(&name) {
            push(text.clone(), Origin::Flag(name));
        }
    }
    overrides
}

/// What was given besides the file.
///
/// # Errors
/// A size that is none.
pub(crate) fn given(matches: &ArgMatches) -> anyhow::Result<Given> {
    let mut overrides = overrides(matches, config::server_leaves());
    if let Some(text) = matches.get_one::<String>(RETENTION_SIZE) {
        let size = ByteSize::parse(text).map_err(|err| anyhow::anyhow!("flag --{RETENTION_SIZE}: {err}"))?;
        overrides.push(Override {
            path: vec!["storage".into(), "retention_bytes".into()],
            text: size.0.to_string(),
            origin: Origin::Flag(RETENTION_SIZE.into()),
        });
    }
    let mut warnings: Vec<String> = WITHOUT_EFFECT
        .iter()
        .filter(|(name, _)| matches.contains_id(name))
        .map(|(name, why)| format!("flag --{name} has no effect: {why}"))
        .collect();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    warnings.extend(unknown_variables(names));
    let many = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
    Ok(Given {
        file: matches.get_one::<std::path::PathBuf>("config.file").cloned(),
        overrides,
        scrape: many("scrape"),
        features: many("enable-feature"),
        warnings,
    })
}

/// A sentence for each variable that looks like a setting and is none. They are no errors: Kubernetes sets variables like
/// `BELLWETHER_PORT_9090_TCP` for a service of that name.
fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let known: Vec<String> = config::leaves().iter().map(Leaf::variable).collect();
    let mut unknown: Vec<String> = names
        .filter(|name| name.starts_with(PREFIX) && !OTHER_VARIABLES.contains(&name.as_str()))
        .filter(|name| !known.contains(name) && !is_kubernetes(name))
        .map(|name| {
            let nearest = known.iter().map(|one| (distance(one, &name), one)).min();
            let hint = match nearest {
                Some((steps, one)) if steps <= 3 => format!("; did you mean {one}?"),
                _ => "; docs/reference/config.md lists them".to_owned(),
            };
            format!("environment variable {name} has no effect: there is no such setting{hint}")
        })
        .collect();
    unknown.sort();
    unknown
}

/// Whether Kubernetes sets such a variable for a service named `bellwether` or `bellwether-…`.
fn is_kubernetes(name: &str) -> bool {
    let port = |rest: &str| rest == "_PORT" || rest.starts_with("_PORT_") || rest.starts_with("_SERVICE_");
    name.match_indices('_').any(|(at, _)| name.get(at..).is_some_and(port))
}

/// Least number of single-letter changes from one text to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    fn parsed(args: &[&str]) -> Given {
        let args = ["b", "server"].iter().chain(args);
        let matches = command().try_get_matches_from(args).unwrap();
        given(matches.subcommand_matches("server").unwrap()).unwrap()
    }

    #[test]
    fn every_setting_has_a_flag_and_help() {
        for leaf in config::leaves() {
            assert!(!leaf.help.is_empty(), "{} has no documentation", leaf.flag());
        }
        assert_eq!(parsed(&["--storage.tsdb.path=/x"]).overrides[0].path, ["storage", "path"]);
    }

    #[test]
    fn prometheus_spellings_stand_for_settings_that_exist() {
        let flags: Vec<String> = config::leaves().iter().map(Leaf::flag).collect();
        for (theirs, ours) in PROMETHEUS_FLAGS {
            assert!(flags.iter().any(|flag| flag == ours), "{theirs} stands for {ours}, which is no setting");
        }
        let given = parsed(&["--storage.tsdb.retention.size=2GB"]);
        assert_eq!(
            (given.overrides[0].path[1].as_str(), given.overrides[0].text.as_str()),
            ("retention_bytes", "2147483648")
        );
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let given = parsed(&["--web.console.templates=/etc/x", "--storage.tsdb.no-lockfile"]);
        assert!(given.warnings.iter().any(|warning| warning.contains("--web.console.templates")));
        assert!(given.warnings.iter().any(|warning| warning.contains("--storage.tsdb.no-lockfile")));
        let names =
            ["BELLWETHER_STORAGE_PAHT", "BELLWETHER_PORT_9090_TCP", "BELLWETHER_STORAGE_PATH", "HOME"];
        let said = unknown_variables(names.iter().map(|&name| name.to_owned()));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("BELLWETHER_STORAGE_PAHT") && said[0].contains("BELLWETHER_STORAGE_PATH?"),
            "{said:?}"
        );
    }
}
