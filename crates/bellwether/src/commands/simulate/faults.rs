//! Faults of a simulated fleet: what they hit, from when on. Pure.

use super::fleet::{Layout, Rack, Random};

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Ok,
    /// It answers, too hot.
    Warning,
    /// It does not answer: `up` is 0.
    Dead,
    /// Nobody asks it: no samples.
    NoData,
}

/// One fault, as it is written on the command line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    state: State,
    /// Patterns of region, data centre, row, rack, slot; missing ones match all.
    path: Vec<String>,
    /// Of the servers that the path matches, in thousandths.
    share: u32,
    /// After the start or the injection, in milliseconds.
    after_ms: i64,
}

impl Fault {
    /// `STATE@REGION/DATACENTER/ROW/RACK/SLOT[%SHARE][+DELAY]`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (state, rest) =
            text.split_once('@').ok_or("write STATE@PLACE, such as dead@eu-central/fra2/row 17")?;
        let state = match state.trim() {
            "ok" => State::Ok,
            "warning" => State::Warning,
            "dead" => State::Dead,
            "nodata" => State::NoData,
            other => return Err(format!("there is no state {other:?}: use dead, warning, nodata or ok")),
        };
        let (rest, after_ms) = match rest.split_once('+') {
            None => (rest, 0),
            Some((rest, delay)) => {
                let delay: model::duration::PromDuration =
                    delay.trim().parse().map_err(|err| format!("the delay {delay:?}: {err}"))?;
                (rest, delay.ms())
            }
        };
        let (path, share) = match rest.split_once('%') {
            None => (rest, 1000),
            Some((path, share)) => {
                let share: f64 =
                    share.trim().parse().map_err(|_| format!("{share:?} is no number of per cent"))?;
                if !(share > 0.0 && share <= 100.0) {
                    return Err(format!("the share is {share} %: it must be above 0 and at most 100"));
                }
                (path, (share * 10.0).round().max(1.0) as u32)
            }
        };
        let path: Vec<String> = path.split('/').map(|part| part.trim().to_owned()).collect();
        if path.len() > 5 {
            return Err("a place has at most five parts: region, data centre, row, rack, slot".to_owned());
        }
        Ok(Self { state, path, share, after_ms })
    }

    fn hits_rack(&self, rack: &Rack) -> bool {
        let words = rack.words(0);
        let parts = [rack.region, rack.datacenter, &words.row, &words.rack];
        self.path.iter().zip(parts).all(|(pattern, part)| like(pattern, part))
    }

    fn hits_slot(&self, slot: u32) -> bool {
        self.path.get(4).is_none_or(|pattern| like(pattern, &format!("{:02}", slot + 1)))
    }
}

/// Whether `text` is `pattern`, in which `*` stands for anything.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| like(tail, rest)))
        }),
    }
}

/// Faults in the order in which they were given: later ones win.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    list: Vec<(Fault, i64)>,
    seed: u64,
    scatter: bool,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { list: Vec::new(), seed, scatter: false }
    }

    /// `since_ms`: when it was injected, after the start.
    pub(crate) fn add(&mut self, fault: Fault, since_ms: i64) {
        let from = since_ms + fault.after_ms;
        self.list.push((fault, from));
    }

    /// A fault of each shape that a map should make visible.
    pub(crate) fn add_standard(&mut self) {
        self.scatter = true;
        for text in [
            "nodata@sa-east/gru1/row 09",
            "nodata@sa-east/gru1/row 10",
            "dead@eu-central/fra2/row 17%98",
            "nodata@sa-east/scl1/*/rack 08",
            "warning@us-east/iad2/row 20%75",
            "warning@ap-southeast/sin1/row 21",
            "dead@us-east/iad1/row 28/rack 1*%97",
            "dead@us-east/cmh1/row 12/rack 21",
            "dead@eu-central/ams1/row 06/rack 13",
            "dead@ap-southeast/nrt1/row 14/rack 20",
            "warning@us-west/pdx2/row 1*/*/01",
            "warning@us-west/pdx2/row 1*/*/02",
            "warning@eu-north/dub1/row 1*/rack 1*%80",
        ] {
            let fault = Fault::parse(text).expect("the standard faults are well-formed");
            self.add(fault, 0);
        }
    }

    /// The state of every server at `since_ms` after the start.
    pub(crate) fn states(&self, layout: &Layout, since_ms: i64) -> Vec<State> {
        let mut states = vec![State::Ok; layout.servers() as usize];
        if self.scatter {
            let mut random = Random(self.seed ^ 0x5ca7_7e12);
            for state in &mut states {
                *state = match random.unit() {
                    dice if dice < 0.0012 => State::Dead,
                    dice if dice < 0.0055 => State::Warning,
                    dice if dice < 0.0061 => State::NoData,
                    _ => State::Ok,
                };
            }
        }
        for (nth, (fault, from)) in (1u64..).zip(&self.list) {
            if *from > since_ms {
                continue;
            }
            let mut random = Random(self.seed ^ nth.wrapping_mul(0x517c_c1b7_2722_0a95));
            for rack in layout.racks.iter().filter(|rack| fault.hits_rack(rack)) {
                for slot in 0..rack.used {
                    // The dice are thrown for every slot, so that a share hits the same servers each time.
                    let hit = (random.next() % 1000) < u64::from(fault.share);
                    if hit && fault.hits_slot(slot) {
                        states[(rack.first + slot) as usize] = fault.state;
                    }
                }
            }
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_patterns() {
        assert!(like("row 1*", "row 17") && like("*", "") && like("*a*", "bab") && like("x", "x"));
        assert!(!like("row 1*", "row 27") && !like("*a", "ab") && !like("", "x"));
    }

    #[test]
    fn faults_are_read() {
        let fault = Fault::parse("warning@*/dub1/row 1*%60+1m").unwrap();
        assert_eq!((fault.state, fault.share, fault.after_ms), (State::Warning, 600, 60_000));
        assert_eq!(fault.path, ["*", "dub1", "row 1*"]);
        for (bad, word) in [
            ("fra2", "STATE@PLACE"),
            ("broken@fra2", "no state"),
            ("dead@a%0", "above 0"),
            ("dead@a%x", "per cent"),
            ("dead@a+soon", "delay"),
            ("dead@a/b/c/d/e/f", "five parts"),
        ] {
            let err = Fault::parse(bad).unwrap_err();
            assert!(err.contains(word), "{bad}: {err}");
        }
    }

    #[test]
    fn a_fault_hits_what_it_names_from_its_time_on_and_ends() {
        let layout = Layout::new(20_000, 1);
        let mut faults = Faults::new(1);
        faults.add(Fault::parse("dead@us-east/iad1/row 01/rack 02+10s").unwrap(), 0);
        let count = |faults: &Faults, at: i64| {
            faults.states(&layout, at).iter().filter(|state| **state == State::Dead).count()
        };
        assert_eq!(count(&faults, 9_999), 0);
        let rack = layout.racks.iter().find(|rack| (rack.row, rack.position) == (1, 2)).unwrap();
        assert_eq!(count(&faults, 10_000), rack.used as usize);
        faults.add(Fault::parse("ok@us-east/iad1/row 01/rack 02/01").unwrap(), 20_000);
        assert_eq!(count(&faults, 20_000), rack.used as usize - 1);
        faults.add(Fault::parse("ok@*").unwrap(), 30_000);
        assert_eq!(count(&faults, 30_000), 0);
    }

    #[test]
    fn standard_faults_are_the_same_each_time() {
        let layout = Layout::new(100_000, 1);
        let mut faults = Faults::new(1);
        faults.add_standard();
        let states = faults.states(&layout, 0);
        assert_eq!(states, faults.states(&layout, 60_000));
        for state in [State::Dead, State::Warning, State::NoData] {
            assert!(states.iter().filter(|one| **one == state).count() > 50, "{state:?}");
        }
    }
}
