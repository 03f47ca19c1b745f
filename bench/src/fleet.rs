//! A fleet as data: hosts with the series that hosts have. The same seed gives the same samples, for everybody.
//!
//! A host has 100 series: 30 constants, 48 counters (some of them idle, some with hundredths, some with resets), 22 gauges (7 of them
//! floats of full precision). In the histogram variant the second half is four classic histograms instead. Labels
//! take about 240 bytes a series. Hosts are scraped every 15 s, each at its own offset; one scrape in fifty is a few milliseconds off.

/// Milliseconds between two scrapes.
pub(crate) const INTERVAL_MS: i64 = 15_000;
/// Series of a host.
pub(crate) const PER_HOST: usize = 100;
/// Buckets of a classic histogram of the variant; with sum and count it has two series more.
const BUCKETS: usize = 10;
/// Upper bounds of those buckets.
const BOUNDS: [&str; BUCKETS] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
/// The first series of a host that belongs to a histogram in the variant: 50 = 4 × 12 + 2 gauges.
const HISTOGRAMS_FROM: usize = 52;

/// What the series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Constants, counters, gauges.
    Hosts,
    /// Half of the series are those of classic histograms.
    Histograms,
}

/// How one series moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Constant,
    IdleCounter,
    Counter,
    Seconds,
    IntegerGauge,
    Hundredths,
    FullFloat,
    Bucket(usize),
    Sum,
    Count,
}

/// The generator.
pub(crate) struct Fleet {
    shape: Shape,
    pub(crate) hosts: usize,
    start_ms: i64,
    /// By series: the last value, as an integer of the series' unit.
    state: Vec<i64>,
    seed: u64,
    /// By series: its own source of randomness.
    random: Vec<u64>,
    round: i64,
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

impl Fleet {
    /// `start_ms`: when the first round is scraped.
    pub(crate) fn new(shape: Shape, hosts: usize, start_ms: i64, seed: u64) -> Self {
        let series = hosts * PER_HOST;
        let random: Vec<u64> = (0..series as u64).map(|s| mix(seed ^ mix(s + 1)) | 1).collect();
        let state = random.iter().map(|r| (mix(*r) % 1_000_000) as i64).collect();
        let mut fleet = Self { shape, hosts, start_ms, state, seed, random, round: 0 };
        if shape == Shape::Histograms {
            // Buckets are cumulative.
            for series in (0..series).filter(|s| s % PER_HOST >= HISTOGRAMS_FROM) {
                fleet.state[series] = 0;
            }
        }
        fleet
    }

    pub(crate) fn series(&self) -> usize {
        self.hosts * PER_HOST
    }

    fn kind(&self, at: usize) -> Kind {
        if self.shape == Shape::Histograms && at >= HISTOGRAMS_FROM {
            return match (at - HISTOGRAMS_FROM) % (BUCKETS + 2) {
                bucket if bucket < BUCKETS => Kind::Bucket(bucket),
                bucket if bucket == BUCKETS => Kind::Sum,
                _ => Kind::Count,
            };
        }
        // In the variant the first half is a fleet of its own, half as many of each.
        let at = if self.shape == Shape::Histograms { at * 100 / HISTOGRAMS_FROM } else { at };
        match at {
            0..30 => Kind::Constant,
            30..44 => Kind::IdleCounter,
            44..66 => Kind::Counter,
            66..78 => Kind::Seconds,
            78..86 => Kind::IntegerGauge,
            86..93 => Kind::Hundredths,
            _ => Kind::FullFloat,
        }
    }

    /// The metric name of the `at`th series of a host.
    pub(crate) fn metric(&self, at: usize) -> String {
        match self.kind(at) {
            Kind::Bucket(_) => "http_request_duration_seconds_bucket".to_owned(),
            Kind::Sum => "http_request_duration_seconds_sum".to_owned(),
            Kind::Count => "http_request_duration_seconds_count".to_owned(),
            Kind::Constant => format!("node_filesystem_limit_{:02}_bytes", at / 4),
            Kind::IdleCounter => format!("node_network_errors_{:02}_total", at / 4),
            Kind::Counter => format!("node_network_transmit_{:02}_bytes_total", at / 4),
            Kind::Seconds => format!("node_cpu_mode_{:02}_seconds_total", at / 4),
            Kind::IntegerGauge => format!("node_memory_active_{:02}_bytes", at / 4),
            Kind::Hundredths => format!("node_load_average_{:02}", at / 4),
            Kind::FullFloat => format!("node_hwmon_temperature_{:02}_celsius", at / 4),
        }
    }

    /// Calls `each` with the labels of a series, sorted by name.
    pub(crate) fn labels(&self, series: usize, mut each: impl FnMut(&str, &str)) {
        let (host, at) = (series / PER_HOST, series % PER_HOST);
        let rack = host / 40;
        let kind = self.kind(at);
        each("__name__", &self.metric(at));
        each("cluster", "production-1");
        each("datacenter", ["ams1", "fra2", "lon1"][host % 3]);
        each("device", ["eth0", "eth1", "nvme0n1", "nvme1n1"][at % 4]);
        each("environment", "production");
        if matches!(kind, Kind::Bucket(_) | Kind::Sum | Kind::Count) {
            each(
                "handler",
                ["/api/v1/query", "/api/v1/write", "/login", "/static"]
                    [(at - HISTOGRAMS_FROM) / (BUCKETS + 2)],
            );
        }
        each("instance", &format!("server-{host:05}.rack{rack:03}.example.net:9100"));
        each("job", "node");
        if let Kind::Bucket(bucket) = kind {
            each("le", BOUNDS[bucket]);
        }
        each("rack", &format!("rack{rack:03}"));
        each("role", ["web", "database", "cache", "batch"][host % 4]);
    }

    /// The times of the round that comes next, by host.
    pub(crate) fn time(&self, host: usize) -> i64 {
        let offset = (mix(self.seed ^ host as u64) % (INTERVAL_MS as u64 - 100)) as i64;
        let jitter = mix(self.seed ^ (host as u64) << 32 ^ self.round as u64);
        let jitter = if jitter.is_multiple_of(50) { (jitter >> 8) as i64 % 7 } else { 0 };
        self.start_ms + self.round * INTERVAL_MS + offset + jitter
    }

    /// The next value of a series; every series of a round is asked once, ascending.
    pub(crate) fn value(&mut self, series: usize) -> f64 {
        let kind = self.kind(series % PER_HOST);
        let random = next(&mut self.random[series]);
        let low = (random >> 11) as i64;
        match kind {
            Kind::Constant => {
                let state = self.state[series];
                if state % 2 == 0 { (state % 4) as f64 } else { (state * 4096) as f64 }
            }
            Kind::IdleCounter => {
                if random.is_multiple_of(200) {
                    self.state[series] += 1 + low % 3;
                }
                (self.state[series] % 1000) as f64
            }
            Kind::Counter => {
                // A rate of its own, and how it swings.
                let rate = 1i64 << (mix(series as u64 ^ self.seed) % 22);
                self.state[series] += rate + low % (rate / 2 + 1);
                if random.is_multiple_of(20_000) {
                    self.state[series] = 0;
                }
                self.state[series] as f64
            }
            Kind::Seconds => {
                self.state[series] += low % 1500;
                self.state[series] as f64 / 100.0
            }
            Kind::IntegerGauge => {
                let step = low % 2001 - 1000;
                self.state[series] = (self.state[series] + step).max(0);
                (self.state[series] * 4096) as f64
            }
            Kind::Hundredths => {
                let step = low % 41 - 20;
                self.state[series] = (self.state[series] % 3000 + step).max(0);
                self.state[series] as f64 / 100.0
            }
            Kind::FullFloat => {
                let step = low % 2001 - 1000;
                self.state[series] = (self.state[series] + step).clamp(1, 10_000_000);
                (self.state[series] as f64).sqrt() / 7.0
            }
            Kind::Bucket(bucket) => {
                // Increments of the lower buckets are in the upper ones too.
                let rate = 1 + mix((series / 12) as u64 ^ self.seed) % 40;
                let own = if bucket == 0 { 0 } else { self.bucket_increment(series - 1) };
                let added = random % (rate * [2, 5, 9, 6, 4, 2, 1, 1, 1, 1][bucket] / 2 + 1);
                let total = own + added as i64;
                self.state[series] += total;
                // Kept for the next bucket of the same round.
                self.random[series] = self.random[series] & !0xffff | (total as u64 & 0x7fff) << 1 | 1;
                self.state[series] as f64
            }
            Kind::Sum => {
                let count = self.bucket_increment(series - 1);
                self.state[series] += count * (20 + low % 30);
                self.state[series] as f64 / 1000.0
            }
            Kind::Count => {
                // The `+Inf` bucket is two series before.
                self.state[series] = self.state[series - 2];
                self.state[series] as f64
            }
        }
    }

    fn bucket_increment(&self, series: usize) -> i64 {
        (self.random[series] >> 1 & 0x7fff) as i64
    }

    /// Goes on to the next round.
    pub(crate) fn advance(&mut self) {
        self.round += 1;
    }
}
