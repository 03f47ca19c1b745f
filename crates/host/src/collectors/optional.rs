//! `cgroups`, `cpu_vulnerabilities`, `xfrm`, `sysctl`: small collectors that are off unless enabled.

use crate::files::{Files, number};
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct Cgroups;

impl Collector for Cgroups {
    fn name(&self) -> &'static str {
        "cgroups"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "cgroups";
        for line in files.proc(FILE)?.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [name, _, count, enabled] = words.as_slice() else { continue };
            let label = [("subsys_name", *name)];
            let help = "Control groups of a controller.";
            out.gauge("node_cgroups_cgroups", help, &label, number(FILE, count)?);
            let help = "Whether a controller of control groups is on.";
            out.gauge("node_cgroups_enabled", help, &label, number(FILE, enabled)?);
        }
        Ok(())
    }
}

pub(crate) struct CpuVulnerabilities;

impl Collector for CpuVulnerabilities {
    fn name(&self) -> &'static str {
        "cpu_vulnerabilities"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const ROOT: &str = "devices/system/cpu/vulnerabilities";
        for name in files.sys_list(ROOT)? {
            let Ok(text) = files.sys(&format!("{ROOT}/{name}")) else { continue };
            let lower = text.to_lowercase();
            let (state, mitigation) = if lower.starts_with("not affected") {
                ("not affected", "")
            } else if lower.starts_with("mitigation") {
                ("mitigation", text.split_once(": ").map_or("", |(_, rest)| rest))
            } else if lower.starts_with("vulnerable") {
                ("vulnerable", "")
            } else {
                ("unknown", "")
            };
            let labels = [("codename", name.as_str()), ("mitigation", mitigation), ("state", state)];
            let help = "Always 1; the labels say how a processor bug is dealt with.";
            out.gauge("node_cpu_vulnerabilities_info", help, &labels, 1.0);
        }
        Ok(())
    }
}

pub(crate) struct Xfrm;

/// Counters of `/proc/net/xfrm_stat` and their metrics.
const XFRM: [(&str, &str); 28] = [
    ("XfrmInError", "in_error"),
    ("XfrmInBufferError", "in_buffer_error"),
    ("XfrmInHdrError", "in_hdr_error"),
    ("XfrmInNoStates", "in_no_states"),
    ("XfrmInStateProtoError", "in_state_proto_error"),
    ("XfrmInStateModeError", "in_state_mode_error"),
    ("XfrmInStateSeqError", "in_state_seq_error"),
    ("XfrmInStateExpired", "in_state_expired"),
    ("XfrmInStateMismatch", "in_state_mismatch"),
    ("XfrmInStateInvalid", "in_state_invalid"),
    ("XfrmInTmplMismatch", "in_tmpl_mismatch"),
    ("XfrmInNoPols", "in_no_pols"),
    ("XfrmInPolBlock", "in_pol_block"),
    ("XfrmInPolError", "in_pol_error"),
    ("XfrmOutError", "out_error"),
    ("XfrmOutBundleGenError", "out_bundle_gen_error"),
    ("XfrmOutBundleCheckError", "out_bundle_check_error"),
    ("XfrmOutNoStates", "out_no_states"),
    ("XfrmOutStateProtoError", "out_state_proto_error"),
    ("XfrmOutStateModeError", "out_state_mode_error"),
    ("XfrmOutStateSeqError", "out_state_seq_error"),
    ("XfrmOutStateExpired", "out_state_expired"),
    ("XfrmOutPolBlock", "out_pol_block"),
    ("XfrmOutPolDead", "out_pol_dead"),
    ("XfrmOutPolError", "out_pol_error"),
    ("XfrmFwdHdrError", "fwd_hdr_error"),
    ("XfrmOutStateInvalid", "out_state_invalid"),
    ("XfrmAcquireError", "acquire_error"),
];

impl Collector for Xfrm {
    fn name(&self) -> &'static str {
        "xfrm"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "net/xfrm_stat";
        let text = files.proc(FILE)?;
        for (key, metric) in XFRM {
            let found = text.lines().find_map(|line| {
                let mut words = line.split_ascii_whitespace();
                (words.next() == Some(key)).then(|| words.next()).flatten()
            });
            let value = found.map_or(Ok(0.0), |word| number(FILE, word))?;
            let help = format!("Packets of IPsec that met {key}.");
            out.counter(&format!("node_xfrm_{metric}_packets_total"), &help, &[], value);
        }
        Ok(())
    }
}

/// Kernel parameters that the user names: `fs.file-nr`, `fs.file-nr:used,free,max`.
pub(crate) struct Sysctl {
    wanted: Vec<(String, Vec<String>)>,
}

impl Sysctl {
    pub(crate) fn new(include: &[String]) -> Self {
        let wanted = include.iter().map(|entry| {
            let (name, keys) = entry.split_once(':').unwrap_or((entry, ""));
            let keys = keys.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect();
            (name.to_owned(), keys)
        });
        Self { wanted: wanted.collect() }
    }
}

impl Collector for Sysctl {
    fn name(&self) -> &'static str {
        "sysctl"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for (name, keys) in &self.wanted {
            let path = format!("sys/{}", name.replace('.', "/"));
            let text = files.proc(&path)?;
            let clean = |name: &str| name.replace(['.', '-', '/'], "_");
            let values: Vec<&str> = text.split_ascii_whitespace().collect();
            for (index, word) in values.iter().enumerate() {
                let value = number(&path, word)?;
                let help = format!("Kernel parameter {name}.");
                let metric = format!("node_sysctl_{}", clean(name));
                match keys.get(index) {
                    Some(key) => {
                        out.add(
                            &format!("{metric}_{}", clean(key)),
                            model::MetricType::Unknown,
                            &help,
                            &[],
                            value,
                        );
                    }
                    None if values.len() == 1 => {
                        out.add(&metric, model::MetricType::Unknown, &help, &[], value);
                    }
                    None => {
                        let index = index.to_string();
                        out.add(&metric, model::MetricType::Unknown, &help, &[("index", &index)], value);
                    }
                }
            }
        }
        Ok(())
    }
}
