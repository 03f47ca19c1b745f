//! A seeded simulator of clients, and what the detector says of them.
//!
//! Clients come from networks in countries and are served by points of presence over three protocols, with a daily rhythm.
//! A report arrives as Chromium sends it: the first at once, others with the browser's batch up to a minute later; an address
//! that does not answer is only known after two minutes. `SIM_RUNS` sets the number of runs of the long tests.

use std::collections::BTreeMap;

use super::verdict::Verdict;
use super::{Detector, MINUTE_MS};
use crate::cell::{Cell, Count};
use crate::class::Class;
use crate::cohort::{Cohort, Dimension};
use crate::config::Detection;
use crate::report::Source;

/// A small generator of random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// How many events happen when `mean` are expected.
    fn poisson(&mut self, mean: f64) -> u32 {
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Nothing.
    None,
    /// Half of all people go away at once, for a good reason.
    Dip,
    /// One network cannot reach the site (its clients reach the collector).
    Isp(u32),
    /// One network is gone altogether.
    IspDark(u32),
    /// One country cannot.
    Country(u32),
    /// The name servers do not answer.
    Dns,
    /// One network's clients are sent to somebody else.
    Hijack(u32),
    /// The certificate has expired.
    Certificate,
    /// One point of presence fails.
    Pop(u32),
    /// A deployment fails one request in 30.
    Deploy,
    /// HTTP/3 fails.
    H3,
}

const NETWORKS: u32 = 24;
const COUNTRIES: u32 = 8;
const POPS: u32 = 5;
const CLIENTS: u64 = 40_000;

#[derive(Clone, Copy)]
struct Client {
    id: u64,
    asn: u32,
    country: u32,
    pop: u32,
    protocol: u8,
    browser: u8,
}

/// Network sizes fall off: the largest has a fifth, the smallest half a percent.
fn client(random: &mut Random) -> Client {
    let u = random.unit();
    let asn = ((u * u) * f64::from(NETWORKS)) as u32;
    // A network is in one country, save for the first two, which are in three.
    let country = if asn < 2 { random.below(3) as u32 } else { asn % COUNTRIES };
    // Most are served nearby, some by the next point of presence.
    let near = country % POPS;
    let pop = if random.chance(0.7) { near } else { (near + 1 + random.below(2) as u32) % POPS };
    let protocol = [1, 2, 2, 2, 3, 3][random.below(6) as usize];
    Client { id: random.below(CLIENTS), asn, country, pop, protocol, browser: 1 + random.below(4) as u8 }
}

/// What a request becomes: a class and how long its report is held back, in milliseconds; `None` when no report can come.
fn outcome(client: &Client, fault: Fault, random: &mut Random) -> Option<(&'static str, i64)> {
    // What is always there: bad wireless, bad gateways, people who go away.
    let base = random.unit();
    let usual = match base {
        b if b < 0.0008 => "tcp.timed_out",
        b if b < 0.0016 => "tcp.reset",
        b if b < 0.0020 => "dns.name_not_resolved",
        b if b < 0.0024 => "http.error.5xx",
        b if b < 0.0026 => "tls.cert.date_invalid",
        b if b < 0.0046 => "dns.address_changed",
        b if b < 0.0246 => "http.error.4xx",
        b if b < 0.0346 => "abandoned",
        _ => "ok",
    };
    let hit = match fault {
        Fault::Isp(asn) if client.asn == asn && random.chance(0.7) => {
            Some(if random.chance(0.8) { "tcp.timed_out" } else { "tcp.reset" })
        }
        Fault::IspDark(asn) if client.asn == asn => return None,
        Fault::Country(country) if client.country == country && random.chance(0.6) => Some("tcp.reset"),
        Fault::Dns if random.chance(0.5) => Some("dns.name_not_resolved"),
        Fault::Hijack(asn) if client.asn == asn && random.chance(0.8) => {
            Some(if random.chance(0.5) { "tls.cert.name_invalid" } else { "dns.address_changed" })
        }
        Fault::Certificate if random.chance(0.95) => Some("tls.cert.date_invalid"),
        Fault::Pop(pop) if client.pop == pop && random.chance(0.5) => Some("tcp.refused"),
        Fault::Deploy if random.chance(1.0 / 30.0) => Some("http.error.5xx"),
        Fault::H3 if client.protocol == 3 && random.chance(0.4) => Some("h3.protocol.error"),
        _ => None,
    };
    let class = hit.unwrap_or(usual);
    let knowing = if class == "tcp.timed_out" { 130_000 } else { 0 };
    let batch = if random.chance(0.4) { 200 } else { random.below(60_000) as i64 };
    Some((class, knowing + batch))
}

/// What the detector said, by when.
struct Run {
    /// Verdict, cohort, and milliseconds since the fault began.
    opened: Vec<(Verdict, Cohort, i64)>,
    /// When the first report of the fault can have arrived, since the fault began.
    possible: i64,
}

const STEP_MS: i64 = 10_000;

/// Runs `before` minutes without and `during` minutes with a fault, at about `rate` reports a second.
fn run(seed: u64, fault: Fault, before: i64, during: i64, rate: f64) -> Run {
    let mut random = Random(seed);
    let mut detector = Detector::new(&Detection::default(), 20, 1_000_000, 20_000);
    let start = 1_700_000_000_000 / MINUTE_MS * MINUTE_MS + (seed as i64 % 1440) * MINUTE_MS;
    let begin = start + before * MINUTE_MS;
    let end = begin + during * MINUTE_MS;
    let mut due: BTreeMap<i64, Vec<(i64, Cell, Count)>> = BTreeMap::new();
    let mut opened = Vec::new();
    let mut seen = 0;
    let mut now = start;
    while now < end {
        let hour = (now / 3_600_000 % 24) as f64;
        let rhythm = 1.0 + 0.5 * (hour / 24.0 * std::f64::consts::TAU).sin();
        let ill = now >= begin;
        let people = if ill && fault == Fault::Dip { 0.5 } else { 1.0 };
        for _ in 0..random.poisson(rate * rhythm * people * 2.0) * 5 {
            let client = client(&mut random);
            let active = if ill { fault } else { Fault::None };
            let Some((class, delay)) = outcome(&client, active, &mut random) else { continue };
            let class = Class::named(class).unwrap();
            let dns = class.name().starts_with("dns.name");
            let cell = Cell {
                site: 0,
                origin: 1,
                pop: if dns { 0 } else { client.pop as u16 + 1 },
                class,
                source: Source::Nel,
                protocol: client.protocol,
                browser: client.browser,
                country: [b'A' + client.country as u8, b'X'],
                asn: client.asn + 1,
            };
            let event = now + random.below(STEP_MS as u64) as i64;
            // Transparent retries of a browser.
            let copies = if class.group().is_failure() && random.chance(0.3) { 2 } else { 1 };
            let count = Count {
                reports: copies,
                weight: copies as f32,
                square: copies as f32,
                clients: 1 << (spread(client.id) % 64),
            };
            due.entry((event + delay) / STEP_MS).or_default().push((event / MINUTE_MS, cell, count));
        }
        now += STEP_MS;
        while let Some((&step, _)) = due.first_key_value()
            && step < now / STEP_MS
        {
            for (minute, cell, count) in due.remove(&step).unwrap() {
                // As the collector does: older is history.
                if minute > now / MINUTE_MS - super::KEPT_MINUTES {
                    detector.add(minute, cell, &count);
                }
            }
        }
        detector.evaluate(now);
        for incident in detector.open().iter().filter(|one| one.id > seen) {
            opened.push((incident.verdict, incident.finding.cohort, now - begin));
        }
        seen = detector.open().iter().map(|one| one.id).max().unwrap_or(seen).max(seen);
    }
    let possible = match fault {
        Fault::IspDark(_) => super::silence::QUIET_MS + super::COMPLETE_AFTER_MS,
        _ => 0,
    };
    Run { opened, possible }
}

fn spread(id: u64) -> u64 {
    Random(id).next()
}

fn runs(default: u64) -> u64 {
    std::env::var("SIM_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The fault of a run and what must be said of it.
fn scenario(seed: u64) -> (Fault, Option<(Verdict, Option<Cohort>)>) {
    let cohort = |dimension, value| Some(Cohort { dimension, value });
    let asn = 2 + (spread(seed) % 12) as u32;
    let place = (spread(seed) % u64::from(COUNTRIES)) as u32;
    let country = u32::from(u16::from_be_bytes([b'A' + place as u8, b'X']));
    let pop = (spread(seed) % u64::from(POPS)) as u32;
    match seed % 10 {
        0 => (Fault::Isp(asn), Some((Verdict::Isp, cohort(Dimension::Asn, asn + 1)))),
        1 => (Fault::IspDark(asn % 4), Some((Verdict::Isp, cohort(Dimension::Asn, asn % 4 + 1)))),
        2 => (Fault::Country(place), Some((Verdict::Country, cohort(Dimension::Country, country)))),
        3 => (Fault::Dns, Some((Verdict::AuthoritativeDns, None))),
        4 => (Fault::Hijack(asn), Some((Verdict::Hijack, cohort(Dimension::Asn, asn + 1)))),
        5 => (Fault::Certificate, Some((Verdict::Certificate, None))),
        6 => (Fault::Pop(pop), Some((Verdict::Pop, cohort(Dimension::Pop, pop + 1)))),
        7 => (Fault::Deploy, Some((Verdict::Service, None))),
        8 => (Fault::H3, Some((Verdict::Protocol, cohort(Dimension::Protocol, 3)))),
        // One in a hundred people: the smallest networks.
        _ => match seed / 10 % 2 {
            0 => (Fault::Dip, None),
            _ => (Fault::Isp(18), Some((Verdict::Isp, cohort(Dimension::Asn, 19)))),
        },
    }
}

#[test]
fn faults_are_named_rightly_and_soon() {
    let count = runs(20);
    let (mut right, mut delays, mut wrong) = (0, Vec::new(), Vec::new());
    for seed in 0..count {
        let (fault, expected) = scenario(seed);
        let run = run(seed, fault, 30, 10, 50.0);
        let good = match expected {
            None => run.opened.is_empty(),
            Some((verdict, cohort)) => {
                let fits =
                    |one: &(Verdict, Cohort, i64)| one.0 == verdict && cohort.is_none_or(|c| c == one.1);
                // The first is what a person is told.
                let first = run.opened.first().filter(|one| fits(one) && one.2 >= 0);
                if let Some(first) = first {
                    delays.push(first.2 - run.possible);
                }
                first.is_some()
            }
        };
        right += u64::from(good);
        if !good {
            wrong.push(format!("seed {seed}: {fault:?} → {:?}", run.opened));
        }
    }
    delays.sort_unstable();
    let median = delays.get(delays.len() / 2).copied().unwrap_or_default();
    println!(
        "{right} of {count} right, median {} s after reports can have arrived\n{}",
        median / 1000,
        wrong.join("\n")
    );
    assert!(right * 100 >= count * 95, "{right} of {count} right\n{}", wrong.join("\n"));
    assert!(median <= 90_000, "median {median} ms");
}

#[test]
fn quiet_days_stay_quiet() {
    // A seventh of a week for each run; seven make the week.
    let days = runs(1).min(7);
    let mut false_incidents = Vec::new();
    for seed in 0..days {
        false_incidents.extend(run(1000 + seed, Fault::None, 24 * 60, 0, 4.0).opened);
    }
    println!("{} false incidents in {days} days: {false_incidents:?}", false_incidents.len());
    assert!(false_incidents.len() <= 1, "{false_incidents:?}");
}

#[test]
fn fewer_than_k_clients_change_nothing() {
    // 19 clients of one network fail at everything; the others are well.
    let mut detector = Detector::new(&Detection::default(), 20, 1_000_000, 20_000);
    let mut random = Random(7);
    let start = 1_700_000_000_000 / MINUTE_MS;
    let cell = |class: &str, asn| Cell {
        site: 0,
        origin: 1,
        pop: 1,
        class: Class::named(class).unwrap(),
        source: Source::Nel,
        protocol: 2,
        browser: 1,
        country: *b"AX",
        asn,
    };
    for minute in start..start + 30 {
        for _ in 0..200 {
            let client = 1 << random.below(64);
            detector.add(
                minute,
                cell("ok", 1),
                &Count { reports: 1, weight: 1.0, square: 1.0, clients: client },
            );
        }
        // They are no newcomers.
        for client in 0..20u64 {
            detector.add(
                minute,
                cell("ok", 2),
                &Count { reports: 1, weight: 1.0, square: 1.0, clients: 1 << client },
            );
        }
        for client in 0..if minute < start + 28 { 0 } else { 19u64 } {
            let five = Count { reports: 5, weight: 5.0, square: 5.0, clients: 1 << client };
            detector.add(minute, cell("tcp.refused", 2), &five);
        }
        detector.evaluate((minute + 1) * MINUTE_MS);
    }
    let named: Vec<Cohort> = detector.open().iter().map(|one| one.finding.cohort).collect();
    assert_eq!(named, [], "too few clients are named");
    let one_more = Count { reports: 5, weight: 5.0, square: 5.0, clients: 1 << 19 };
    detector.add(start + 30, cell("tcp.refused", 2), &one_more);
    detector.evaluate((start + 30) * MINUTE_MS + 5000);
    detector.evaluate((start + 30) * MINUTE_MS + 15_000);
    assert_eq!(detector.open().first().map(|one| one.finding.cohort.dimension), Some(Dimension::Asn));
}

/// Half an hour of people of one network, then `flood` of others in the last three minutes, judged every ten seconds.
fn flooded(flood: &[(u32, u64)], probe: Option<f64>) -> Vec<Cohort> {
    let mut detector = Detector::new(&Detection::default(), 20, 1_000_000, 20_000);
    let mut random = Random(11);
    let start = 1_700_000_000_000 / MINUTE_MS;
    let cell = |class: &str, asn| Cell {
        site: 0,
        origin: 1,
        pop: 1,
        class: Class::named(class).unwrap(),
        source: Source::Nel,
        protocol: 2,
        browser: 1,
        country: if asn == 1 { *b"AX" } else { *b"BX" },
        asn,
    };
    for minute in start..start + 30 {
        for _ in 0..300 {
            let client = 1 << random.below(64);
            let one = Count { reports: 1, weight: 1.0, square: 1.0, clients: client };
            let class = if random.chance(0.005) { "tcp.reset" } else { "ok" };
            detector.add(minute, cell(class, 1), &one);
        }
        for (asn, clients) in flood.iter().filter(|_| minute >= start + 27) {
            for client in 0..*clients {
                let five = Count { reports: 5, weight: 5.0, square: 5.0, clients: 1 << client };
                detector.add(minute, cell("tcp.refused", *asn), &five);
            }
        }
        for tenth in 0..6 {
            let now = minute * MINUTE_MS + tenth * 10_000;
            let troubled = detector.troubled().contains(&0);
            for value in probe.iter().filter(|_| troubled) {
                let answer = super::witness::Answer {
                    query: "probe_success".into(),
                    values: Ok(vec![*value, 1.0]),
                    above: 0.01,
                    at: now,
                };
                detector.hear(0, super::witness::Witness::Probes, answer);
            }
            detector.evaluate(now);
        }
    }
    assert!(detector.open().is_empty() || detector.waiting() == 0);
    detector.open().iter().map(|one| one.finding.cohort).collect()
}

#[test]
fn newcomers_of_one_network_need_another_witness() {
    let asn = |value| Cohort { dimension: Dimension::Asn, value };
    // Forged from sixty prefixes of one network that nobody has seen before: nothing, unless a probe fails as well.
    assert_eq!(flooded(&[(7, 60)], None), []);
    assert_eq!(flooded(&[(7, 60)], Some(1.0)), []);
    assert_eq!(flooded(&[(7, 60)], Some(0.0)), [asn(7)]);
    // Clients that were there before are believed, newcomers of several networks too.
    assert_eq!(flooded(&[(1, 60)], None), [Cohort::GLOBAL]);
    assert!(!flooded(&[(7, 60), (8, 60)], None).is_empty());
}
