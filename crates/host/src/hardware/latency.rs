//! How long disks take for a request, against what they usually took and against disks of the same model.

use std::collections::BTreeMap;

use crate::files::Files;
use crate::output::Output;

/// Fewer requests than this in an interval say nothing.
const MIN_REQUESTS: u64 = 20;
/// How fast the usual follows: about this many intervals, 15 s each, make a day.
const MEMORY: f64 = 5760.0;
/// Intervals that the usual needs before anything is compared with it.
const LEARN: u32 = 40;
/// The shortest latency that is compared: below it, noise rules.
const FLOOR: f64 = 0.0005;

/// Reads and writes.
const SIDES: [&str; 2] = ["read", "write"];

#[derive(Clone, Debug, Default)]
struct Side {
    requests: u64,
    ms: u64,
    /// Seconds a request, of the last interval that had enough.
    last: Option<f64>,
    /// The usual, as a mean of logarithms, so that one bad minute does not spoil it.
    usual: Option<f64>,
    learned: u32,
}

impl Side {
    /// Takes over the counters; `Some` when the interval had enough requests.
    fn update(&mut self, requests: u64, ms: u64) -> Option<f64> {
        let (before, time) = (self.requests, self.ms);
        (self.requests, self.ms) = (requests, ms);
        if before == 0 || requests < before || ms < time || requests - before < MIN_REQUESTS {
            return None;
        }
        let seconds = (ms - time) as f64 / 1e3 / (requests - before) as f64;
        self.last = Some(seconds);
        let log = seconds.max(FLOOR).ln();
        self.learned = self.learned.saturating_add(1);
        let weight = 1.0 / f64::from(self.learned).min(MEMORY);
        let usual = self.usual.get_or_insert(log);
        // What is far beyond the usual is taken in slowly, or it becomes the usual before anybody looks.
        let pull = if self.learned > LEARN && log - *usual > 1.0 { weight / 10.0 } else { weight };
        *usual += (log - *usual) * pull;
        Some(seconds)
    }

    fn ratio(&self) -> Option<f64> {
        let (last, usual) = (self.last?, self.usual?);
        (self.learned > LEARN).then(|| last.max(FLOOR) / usual.exp())
    }
}

/// All disks between collections.
#[derive(Default)]
pub(super) struct Latency {
    disks: BTreeMap<String, [Side; 2]>,
}

impl Latency {
    /// `text`: `/proc/diskstats`.
    pub(super) fn collect(&mut self, text: &str, files: &Files, out: &mut Output) {
        let disks = super::disks(files);
        self.disks.retain(|name, _| disks.contains(name));
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let Some(name) = words.get(2).filter(|name| disks.iter().any(|disk| disk == *name)) else {
                continue;
            };
            let number =
                |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            let sides = self.disks.entry((*name).to_owned()).or_default();
            sides[0].update(number(3), number(6));
            sides[1].update(number(7), number(10));
        }
        let models: BTreeMap<&String, String> = self
            .disks
            .keys()
            .map(|name| (name, super::text(files, &format!("block/{name}/device/model"))))
            .collect();
        for (name, sides) in &self.disks {
            for (index, (side, direction)) in sides.iter().zip(SIDES).enumerate() {
                let labels = [("device", name.as_str()), ("direction", direction)];
                if let Some(seconds) = side.last {
                    let help =
                        "How long a request took on average, in the last interval with enough requests.";
                    out.gauge("bellwether_disk_latency_seconds", help, &labels, seconds);
                }
                if let Some(usual) = side.usual {
                    let help = "How long a request usually takes on this disk.";
                    out.gauge("bellwether_disk_latency_usual_seconds", help, &labels, usual.exp());
                }
                let ratio = |out: &mut Output, basis: &str, value: f64| {
                    let help = "How many times longer requests take than they usually do (history) or than on disks of the same model (peers).";
                    let labels = [("basis", basis), ("device", name.as_str()), ("direction", direction)];
                    out.gauge("bellwether_disk_latency_ratio", help, &labels, value);
                };
                if let Some(value) = side.ratio() {
                    ratio(out, "history", value);
                }
                let model = &models[name];
                let peers: Vec<f64> = self
                    .disks
                    .iter()
                    .filter(|(peer, _)| *peer != name && !model.is_empty() && models[peer] == *model)
                    .filter_map(|(_, sides)| sides[index].last)
                    .collect();
                if let (Some(own), Some(median)) = (side.last, median(peers)) {
                    ratio(out, "peers", own.max(FLOOR) / median.max(FLOOR));
                }
            }
        }
    }
}

/// Of two or more.
fn median(mut values: Vec<f64>) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    Some(values[values.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_slows_down_stands_out_for_hours() {
        let mut side = Side::default();
        let (mut requests, mut ms) = (1, 0);
        assert_eq!(side.update(requests, ms), None);
        let mut go = |side: &mut Side, each_ms: u64| {
            requests += 100;
            ms += 100 * each_ms;
            side.update(requests, ms)
        };
        for _ in 0..100 {
            assert_eq!(go(&mut side, 5), Some(0.005));
        }
        assert!((side.ratio().unwrap() - 1.0).abs() < 0.01);
        for _ in 0..240 {
            go(&mut side, 40);
        }
        assert!(side.ratio().unwrap() > 4.0, "{:?}", side.ratio());
    }

    #[test]
    fn idle_disks_and_resets_say_nothing() {
        let mut side = Side::default();
        assert_eq!(side.update(1000, 5000), None, "the first look has nothing to compare");
        assert_eq!(side.update(1010, 5100), None, "too few requests");
        assert_eq!(side.update(5, 10), None, "the counters began anew");
        assert_eq!(side.ratio(), None);
        assert_eq!(median(vec![1.0]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
    }
}
