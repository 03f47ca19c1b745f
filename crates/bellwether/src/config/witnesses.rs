//! The queries of `collector.sites[].checks`: the collector asks them and knows no PromQL.

use clients::detect::witness::Witness;
use model::InvalidField;

/// Whether every one is PromQL.
pub(super) fn check(config: &clients::Config, options: &promql::Options) -> Result<(), InvalidField> {
    for (index, site) in config.sites.iter().enumerate() {
        for witness in Witness::ALL {
            let query = witness.query(&site.checks);
            if !query.is_empty() {
                promql::parse(query, options).map_err(|err| {
                    let field = format!("checks.{}", witness.as_str());
                    InvalidField::new(field, err.to_string()).item("collector.sites", index)
                })?;
            }
        }
    }
    Ok(())
}
