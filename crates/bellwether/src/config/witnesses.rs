//! The queries of `collector.sites[].checks`: the collector asks them and knows no PromQL.

use anyhow::Context;
use clients::detect::witness::Witness;

/// Whether every one is PromQL.
pub(super) fn check(config: &clients::Config, options: &promql::Options) -> anyhow::Result<()> {
    for (index, site) in config.sites.iter().enumerate() {
        for witness in Witness::ALL {
            let query = witness.query(&site.checks);
            if !query.is_empty() {
                let parsed = promql::parse(query, options);
                parsed.with_context(|| format!("collector.sites[{index}].checks.{}", witness.as_str()))?;
            }
        }
    }
    Ok(())
}
