//! One look at an instance: is it up, does it answer queries, does it evaluate its rules?

use std::time::Duration;

use httpc::{Client, Options, Request};
use model::Timestamp;
use serde_json::Value;

use super::config::{Config, Target};

/// No answer that a look needs is larger.
const MAX_ANSWER_BYTES: usize = 64 << 20;

pub(super) struct Prober {
    pub(super) target: Target,
    client: Client,
    max_rule_age_ms: i64,
}

impl Prober {
    pub(super) fn new(target: &Target, config: &Config) -> anyhow::Result<Self> {
        // One target that hangs must not keep the others from being looked at.
        let timeout = Duration::from_millis(config.timeout.ms().min(config.interval.ms()).max(1) as u64);
        let options = Options { timeout, connect_timeout: timeout, ..Options::default() };
        let client = Client::new(&target.http_config, options)?;
        Ok(Self { target: target.clone(), client, max_rule_age_ms: config.max_rule_age.ms() })
    }

    /// What is missing, in words.
    pub(super) async fn look(&self, now: Timestamp) -> Result<(), String> {
        self.get("/-/healthy").await?;
        if self.target.health_only {
            return Ok(());
        }
        self.get("/-/ready").await?;
        let answer = self.json("/api/v1/query?query=vector(1)").await?;
        if answer["data"]["result"][0]["value"][1] != "1" {
            return Err(format!("{} does not answer queries rightly", self.target.url));
        }
        let answer = self.json("/api/v1/rules").await?;
        let groups = answer["data"]["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
        let evaluated =
            groups.iter().filter_map(|group| api::parse_time(group["lastEvaluation"].as_str()?).ok());
        // Groups that were not evaluated yet have Go's zero time: a server that has just started.
        match evaluated.filter(|at| at.ms() > 0).max() {
            Some(newest) if now - newest > self.max_rule_age_ms => {
                let age = (now - newest) / 1000;
                Err(format!("{} has evaluated no rule for {age} s", self.target.url))
            }
            _ => Ok(()),
        }
    }

    async fn json(&self, path: &str) -> Result<Value, String> {
        let body = self.get(path).await?;
        serde_json::from_slice(&body).map_err(|err| format!("{}{path} is not JSON: {err}", self.target.url))
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, String> {
        let url = format!("{}{path}", self.target.url.trim_end_matches('/'));
        let chain = |err: httpc::Error| format!("{:#}", anyhow::Error::from(err));
        let response = self.client.send(Request::get(&url).map_err(chain)?).await.map_err(chain)?;
        let status = response.status();
        let body = response.bytes(MAX_ANSWER_BYTES).await.map_err(chain)?;
        if status.is_success() { Ok(body.to_vec()) } else { Err(format!("{url} answers {status}")) }
    }
}
