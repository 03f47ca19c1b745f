//! Sends a simulated fleet's samples by remote write and its alerts by Alertmanager's API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use httpc::{Client, Options, Request};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::faults::State;
use super::fleet::{Layout, Rack, Random};

/// Alerts in one request.
const ALERTS: usize = 2000;
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Tries of a request that the server refuses because it is busy or starting.
const TRIES: u32 = 5;

/// The way to the server.
pub(crate) struct Pusher {
    client: Client,
    url: String,
    slots: Arc<Semaphore>,
}

impl Pusher {
    pub(crate) fn new(url: &str, concurrency: usize) -> anyhow::Result<Self> {
        let client = Client::new(&httpc::Config::default(), Options::default())?;
        Ok(Self { client, url: url.to_owned(), slots: Arc::new(Semaphore::new(concurrency)) })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends one sample of every series of every server; how many that were.
    #[expect(clippy::too_many_arguments, reason = "a round is what these say")]
    pub(crate) async fn send(
        &self,
        layout: &Layout,
        states: &[State],
        now_ms: i64,
        round: u64,
        detailed: bool,
        seed: u64,
        portion: usize,
    ) -> anyhow::Result<usize> {
        let mut running: JoinSet<anyhow::Result<()>> = JoinSet::new();
        let mut body = Body::default();
        let mut sent = 0;
        for rack in &layout.racks {
            for slot in 0..rack.used {
                let server = rack.first + slot;
                body.server(rack, slot, states[server as usize], now_ms, round, detailed.then_some(seed));
            }
            if body.series >= portion {
                sent += body.series;
                self.write(&mut running, std::mem::take(&mut body)).await?;
            }
        }
        sent += body.series;
        if body.series > 0 {
            self.write(&mut running, body).await?;
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(sent)
    }

    async fn write(&self, running: &mut JoinSet<anyhow::Result<()>>, body: Body) -> anyhow::Result<()> {
        let slot = Arc::clone(&self.slots).acquire_owned().await?;
        while let Some(done) = running.try_join_next() {
            done??;
        }
        let (client, url) = (self.client.clone(), format!("{}/api/v1/write", self.url));
        running.spawn(async move {
            let packed =
                snap::raw::Encoder::new().compress_vec(&body.bytes).context("cannot compress a request")?;
            let request = Request::post(&url, "application/x-protobuf", packed)?
                .header("content-encoding", "snappy")?
                .header("x-prometheus-remote-write-version", "0.1.0")?;
            post(&client, request).await?;
            drop(slot);
            Ok(())
        });
        Ok(())
    }

    /// Sends an alert for each server with a fault, and ends those of `before` that are over; alerts that are not sent again
    /// end after three intervals.
    pub(crate) async fn alert(
        &self,
        layout: &Layout,
        before: &[State],
        states: &[State],
        now_ms: i64,
        interval: Duration,
    ) -> anyhow::Result<()> {
        let time = |ms: i64| {
            jiff::Timestamp::from_millisecond(ms).map(|at| at.to_string()).context("the clock is far off")
        };
        let ends = time(now_ms + 3 * interval.as_millis() as i64)?;
        let over = time(now_ms)?;
        let mut list = Vec::new();
        for rack in &layout.racks {
            for slot in 0..rack.used {
                let server = (rack.first + slot) as usize;
                let was = before.get(server).copied().unwrap_or(State::Ok);
                let now = states[server];
                let mut add = |state: State, ends: &str| {
                    let (name, severity, what) = match state {
                        State::Dead => ("ServerUnreachable", "critical", "does not answer"),
                        State::Warning => ("ServerHot", "warning", "takes in air above 32 °C"),
                        State::Ok | State::NoData => return,
                    };
                    let words = rack.words(slot);
                    list.push(json!({
                        "labels": {
                            "alertname": name, "severity": severity, "job": "node", "instance": words.instance,
                            "region": rack.region, "datacenter": rack.datacenter, "row": words.row, "rack": words.rack,
                        },
                        "annotations": { "summary": format!("{} {what}", words.instance.trim_end_matches(":9100")) },
                        "endsAt": ends,
                    }));
                };
                add(now, &ends);
                if was != now {
                    add(was, &over);
                }
            }
        }
        let url = format!("{}/api/v2/alerts", self.url);
        for part in list.chunks(ALERTS) {
            post(&self.client, Request::post(&url, "application/json", serde_json::to_vec(part)?)?).await?;
        }
        Ok(())
    }
}

/// Sends a request, again when the server is busy or starting.
async fn post(client: &Client, request: Request) -> anyhow::Result<()> {
    let mut pause = Duration::from_millis(200);
    for left in (0..TRIES).rev() {
        let url = request.url.to_string();
        let answer = client.send(request.clone()).await;
        let refused = match answer {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let text = String::from_utf8_lossy(&answer.bytes(MAX_ANSWER_BYTES).await?).into_owned();
                let message = format!("{url} answered {status}: {}", text.trim());
                if !status.is_server_error() && status.as_u16() != 429 {
                    bail!("{message}");
                }
                message
            }
            Err(err) if left == 0 => return Err(err).context(format!("cannot reach {url}")),
            Err(err) => err.to_string(),
        };
        if left == 0 {
            bail!("{refused}");
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

/// A remote write 1.0 request that grows.
///
/// Source: Prometheus' remote write 1.0 specification: `WriteRequest.timeseries` = 1, `TimeSeries.labels` = 1, `.samples` = 2,
/// `Label.name` = 1, `.value` = 2, `Sample.value` = 1, `.timestamp` = 2.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    series: usize,
    one: Vec<u8>,
}

impl Body {
    /// Adds what one server exposes. `detailed`: the seed of further series than `up`.
    fn server(
        &mut self,
        rack: &Rack,
        slot: u32,
        state: State,
        now_ms: i64,
        round: u64,
        detailed: Option<u64>,
    ) {
        if state == State::NoData {
            return;
        }
        let words = rack.words(slot);
        // Sorted by name, as the protocol wants them; `__name__` and what is special to a metric come in between.
        let place = [
            ("datacenter", rack.datacenter),
            ("instance", words.instance.as_str()),
            ("job", "node"),
            ("rack", words.rack.as_str()),
            ("region", rack.region),
            ("row", words.row.as_str()),
            ("slot", words.slot.as_str()),
        ];
        self.add("up", &[], &place, now_ms, if state == State::Dead { 0.0 } else { 1.0 });
        let Some(seed) = detailed.filter(|_| state != State::Dead) else { return };
        let mut random = Random(seed ^ (u64::from(rack.first + slot) << 20));
        let phase = random.unit() * std::f64::consts::TAU;
        let at = now_ms as f64 / 1000.0;
        let busy = (0.35
            + 0.2 * (at / 613.0 + phase).sin()
            + 0.1 * (at / 71.0 + 3.0 * phase).sin()
            + 0.04 * (Random(seed ^ round ^ u64::from(rack.first + slot)).unit() - 0.5))
            .clamp(0.01, 0.99);
        let hot = if state == State::Warning { 14.0 } else { 0.0 };
        // A counter whose rate is `busy`: the integral of the same curve.
        let total = 0.35 * at
            - 0.2 * 613.0 * (at / 613.0 + phase).cos()
            - 0.1 * 71.0 * (at / 71.0 + 3.0 * phase).cos();
        for (mode, value) in [("idle", at - total), ("system", total * 0.3), ("user", total * 0.7)] {
            self.add("node_cpu_seconds_total", &[("cpu", "0"), ("mode", mode)], &place, now_ms, value);
        }
        let memory = 64.0 * (1u64 << 30) as f64;
        self.add(
            "node_hwmon_temp_celsius",
            &[("chip", "inlet"), ("sensor", "temp1")],
            &place,
            now_ms,
            22.0 + 6.0 * busy + hot,
        );
        self.add("node_load1", &[], &place, now_ms, busy * 16.0);
        self.add("node_memory_MemAvailable_bytes", &[], &place, now_ms, memory * (0.9 - 0.5 * busy));
        self.add("node_memory_MemTotal_bytes", &[], &place, now_ms, memory);
    }

    fn add(&mut self, metric: &str, own: &[(&str, &str)], place: &[(&str, &str)], now_ms: i64, value: f64) {
        self.one.clear();
        let mut labels: Vec<(&str, &str)> = Vec::with_capacity(12);
        labels.push(("__name__", metric));
        labels.extend_from_slice(own);
        labels.extend_from_slice(place);
        labels.sort_unstable();
        for (name, label) in labels {
            let inner = 2 + length(name.len()) + name.len() + length(label.len()) + label.len();
            self.one.push(0x0a);
            varint(&mut self.one, inner as u64);
            for (tag, text) in [(0x0a, name), (0x12, label)] {
                self.one.push(tag);
                varint(&mut self.one, text.len() as u64);
                self.one.extend_from_slice(text.as_bytes());
            }
        }
        let mut sample = Vec::with_capacity(20);
        sample.push(0x09);
        sample.extend_from_slice(&value.to_le_bytes());
        sample.push(0x10);
        varint(&mut sample, now_ms as u64);
        self.one.push(0x12);
        varint(&mut self.one, sample.len() as u64);
        self.one.extend_from_slice(&sample);
        self.bytes.push(0x0a);
        varint(&mut self.bytes, self.one.len() as u64);
        self.bytes.extend_from_slice(&self.one);
        self.series += 1;
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a varint.
fn length(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::remote_write::{Decoder, Message};

    #[test]
    fn what_is_sent_is_remote_write() {
        let layout = Layout::new(1000, 1);
        let mut body = Body::default();
        body.server(&layout.racks[0], 0, State::Ok, 1_700_000_000_000, 0, Some(1));
        body.server(&layout.racks[0], 1, State::Dead, 1_700_000_000_000, 0, Some(1));
        body.server(&layout.racks[0], 2, State::NoData, 1_700_000_000_000, 0, Some(1));
        let mut batch = model::Batch::new();
        Decoder::new(1).decode(Message::V1, &body.bytes, &mut batch).unwrap();
        assert_eq!(batch.series().len(), body.series);
        let up: Vec<f64> = batch
            .floats()
            .iter()
            .filter(|sample| {
                let labels = model::Labels::from_encoded(batch.label_bytes(sample.series).unwrap()).unwrap();
                labels.metric_name() == "up" && labels.get("rack") == Some("rack 01")
            })
            .map(|sample| sample.value)
            .collect();
        assert_eq!(up, [1.0, 0.0]);
    }
}
