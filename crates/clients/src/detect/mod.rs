//! From counts to incidents: who cannot reach a site, since when, and what explains it.
//!
//! The method is an expectation-based scan: for every cohort and type group, how much likelier are the failures that were
//! seen under "this cohort has a fault" than under "everything is as usual"? The cohort with the greatest likelihood ratio is
//! the smallest explanation, because a larger one dilutes and a smaller one leaves failures out. Its cells are set aside and
//! the rest is scanned again. docs/concepts/clients.md has the formulas.
//!
//! | module | holds |
//! |---|---|
//! | [`sum`] | attempts and failures of a cohort, with their uncertainty |
//! | [`baseline`] | what is usual |
//! | [`scan`] | which cohorts explain what is not |
//! | [`silence`] | cohorts that have gone quiet |
//! | [`verdict`] | an explanation in words |
//! | [`newcomers`] | whether failures may be made up |
//! | [`witness`] | what servers and probes say of it |

pub mod baseline;
mod newcomers;
pub mod scan;
pub mod silence;
pub mod sum;
#[cfg(test)]
mod tests;
pub mod verdict;
pub mod witness;

use std::collections::{BTreeMap, BTreeSet};

use crate::cell::{Cell, Cells, Count};
use crate::cohort::{Cohort, Dimension, View};
use crate::config::Detection;
use baseline::Baselines;
use scan::Finding;
use sum::{Sum, Sums};
use verdict::Verdict;
use witness::{Answer, Answers, Reading, Witness};

/// Milliseconds in a minute.
pub const MINUTE_MS: i64 = 60_000;
/// Windows that are scanned, in minutes.
pub const WINDOWS: [i64; 3] = [1, 3, 10];
/// Minutes that are kept.
pub const KEPT_MINUTES: i64 = 16;
/// A minute is complete this long after its end: browsers hold reports back for up to a minute.
const COMPLETE_AFTER_MS: i64 = 75_000;
/// After so long an incident is the new usual, and baselines learn again.
const NEW_USUAL_MS: i64 = 6 * 3_600_000;
/// Explanations that one scan may name.
const MAX_FINDINGS: usize = 4;
/// Ended incidents that are remembered.
const MAX_ENDED: usize = 200;

/// What one judgement has found.
type Found = BTreeMap<(View, Cohort), Finding>;

/// An incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Counts up.
    pub id: u64,
    /// Site and source.
    pub view: View,
    /// What it is.
    pub verdict: Verdict,
    /// What the last scan has found.
    pub finding: Finding,
    /// When it was opened, in milliseconds.
    pub opened: i64,
    /// When something last pointed to it.
    pub last: i64,
    /// When it ended.
    pub ended: Option<i64>,
    /// What other witnesses say of it, as long as it is open.
    pub readings: Vec<Reading>,
}

/// The detector of a collector.
#[derive(Debug)]
pub struct Detector {
    config: Detection,
    min_clients: u32,
    max_cohorts: usize,
    cells: Cells,
    minutes: BTreeMap<i64, Sums>,
    baselines: Baselines,
    /// The last minute that the baselines know.
    learned: Option<i64>,
    /// Found once, not yet believed: since when.
    suspected: BTreeMap<(View, Cohort), i64>,
    /// Of those the ones that wait for a second network or another witness.
    waiting: BTreeSet<(View, Cohort)>,
    answers: Answers,
    open: Vec<Incident>,
    ended: Vec<Incident>,
    next_id: u64,
}

impl Detector {
    /// Nothing known yet.
    pub fn new(config: &Detection, min_clients: u32, max_cells: usize, max_cohorts: usize) -> Self {
        Self {
            config: config.clone(),
            min_clients,
            max_cohorts,
            cells: Cells::new(max_cells),
            minutes: BTreeMap::new(),
            baselines: Baselines::new(max_cohorts),
            learned: None,
            suspected: BTreeMap::new(),
            waiting: BTreeSet::new(),
            answers: Answers::new(),
            open: Vec::new(),
            ended: Vec::new(),
            next_id: 1,
        }
    }

    /// Judges by other settings from now on.
    pub fn configure(&mut self, config: &Detection) {
        self.config = config.clone();
    }

    /// Sites whose clients report trouble, whether or not it is an incident yet.
    pub fn troubled(&self) -> BTreeSet<u16> {
        let open = self.open.iter().map(|incident| incident.view.site);
        open.chain(self.suspected.keys().map(|(view, _)| view.site)).collect()
    }

    /// Findings that wait for a second network or another witness.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes in what a witness says of a site.
    pub fn hear(&mut self, site: u16, witness: Witness, answer: Answer) {
        self.answers.insert((site, witness), answer);
    }

    /// Adds what has come in.
    pub fn add(&mut self, minute: i64, cell: Cell, count: &Count) {
        self.cells.add(minute, cell, count);
        let room = self.max_cohorts;
        let sums = self.minutes.entry(minute).or_default();
        for dimension in Dimension::ALL {
            let Some(cohort) = dimension.of(&cell) else { continue };
            let key = (View::of(&cell), cohort);
            if sums.len() >= room && !sums.contains_key(&key) {
                continue;
            }
            sums.entry(key).or_default().add(cell.class.group(), count);
        }
    }

    /// Cells held in memory.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// Reports whose details were folded away since the last call.
    pub fn take_folded(&mut self) -> u64 {
        self.cells.take_folded()
    }

    /// Incidents that are open.
    pub fn open(&self) -> &[Incident] {
        &self.open
    }

    /// Incidents that have ended, the latest last.
    pub fn ended(&self) -> &[Incident] {
        &self.ended
    }

    /// The sums of the `minutes` before and with the one of `now`.
    pub fn window(&self, now: i64, minutes: i64) -> Sums {
        let last = now.div_euclid(MINUTE_MS);
        let mut sums = Sums::default();
        for more in self.minutes.range(last - minutes + 1..).map(|(_, sums)| sums) {
            for (key, sum) in more {
                sums.entry(*key).or_default().merge(sum);
            }
        }
        sums
    }

    /// What is usual for a cohort.
    pub fn baselines(&self) -> &Baselines {
        &self.baselines
    }

    /// Judges what is known at `now` (milliseconds): call every few seconds.
    pub fn evaluate(&mut self, now: i64) {
        self.learn(now);
        let mut found: Found = BTreeMap::new();
        for minutes in WINDOWS {
            for (view, finding) in self.scan(now, minutes) {
                let better = |known: &Finding| finding.evidence > known.evidence;
                if found.get(&(view, finding.cohort)).is_none_or(better) {
                    found.insert((view, finding.cohort), finding);
                }
            }
        }
        self.keep_best(&mut found);
        let silent = silence::find(
            &self.minutes,
            &self.baselines,
            &self.config,
            self.min_clients,
            now,
            COMPLETE_AFTER_MS,
        );
        for (view, finding) in silent {
            found.entry((view, finding.cohort)).or_insert(finding);
        }
        self.follow(found, now);
    }

    /// Scans one window of every view.
    fn scan(&self, now: i64, minutes: i64) -> Vec<(View, Finding)> {
        let sums = self.window(now, minutes);
        let views: BTreeSet<View> = sums.keys().map(|(view, _)| *view).collect();
        let mut out = Vec::new();
        let rules = scan::Rules {
            min_evidence: self.config.min_evidence,
            min_factor: self.config.min_factor,
            min_error_ratio: self.config.min_error_ratio,
            now,
        };
        for view in views {
            let mut taken: Vec<Cohort> = Vec::new();
            let of_view = |key: &(View, Cohort)| key.0 == view;
            let mut rest: BTreeMap<Cohort, Sum> =
                sums.iter().filter(|(key, _)| of_view(key)).map(|(key, sum)| (key.1, sum.clone())).collect();
            while let Some(mut finding) = scan::best(&rest, &rules, view, &self.baselines) {
                finding.minutes = minutes;
                taken.push(finding.cohort);
                let enough = finding.cohort == Cohort::GLOBAL || taken.len() >= MAX_FINDINGS;
                // Too few are set aside and not named.
                if finding.clients >= self.min_clients {
                    out.push((view, finding));
                }
                if enough {
                    break;
                }
                rest = self.without(now, minutes, view, &taken);
            }
        }
        out
    }

    /// The sums of a window without the cells of some cohorts.
    fn without(&self, now: i64, minutes: i64, view: View, taken: &[Cohort]) -> BTreeMap<Cohort, Sum> {
        let last = now.div_euclid(MINUTE_MS);
        let mut rest: BTreeMap<Cohort, Sum> = BTreeMap::new();
        for (_, cell, count) in self.cells.since(last - minutes + 1) {
            if View::of(cell) != view || taken.iter().any(|cohort| cohort.holds(cell)) {
                continue;
            }
            for dimension in Dimension::ALL {
                if let Some(cohort) = dimension.of(cell) {
                    rest.entry(cohort).or_default().add(cell.class.group(), count);
                }
            }
        }
        rest
    }

    /// Different windows may explain the same failures by different cohorts; the window with the most evidence is right.
    fn keep_best(&self, found: &mut Found) {
        let views: BTreeSet<View> = found.keys().map(|(view, _)| *view).collect();
        for view in views {
            let best = found
                .iter()
                .filter(|(key, _)| key.0 == view)
                .max_by(|a, b| a.1.evidence.total_cmp(&b.1.evidence));
            if let Some(minutes) = best.map(|(_, finding)| finding.minutes) {
                found.retain(|key, finding| key.0 != view || finding.minutes == minutes);
            }
        }
    }

    /// Opens, continues and ends incidents.
    fn follow(&mut self, found: Found, now: i64) {
        self.suspected.retain(|key, _| found.contains_key(key));
        let doubtful = self.doubtful(&found, now);
        self.waiting.clear();
        for ((view, cohort), finding) in found {
            let verdict = verdict::of(&finding);
            let known = self.open.iter_mut().find(|one| one.view == view && one.finding.cohort == cohort);
            if let Some(incident) = known {
                // The verdict of the strongest evidence stays.
                if finding.evidence >= incident.finding.evidence * 0.8 {
                    incident.verdict = verdict;
                }
                incident.finding = finding;
                incident.last = now;
                continue;
            }
            let since = *self.suspected.entry((view, cohort)).or_insert(now);
            if doubtful.contains(&(view, cohort)) {
                self.waiting.insert((view, cohort));
                continue;
            }
            let certain = finding.evidence >= 4.0 * self.config.min_evidence;
            if now > since || certain {
                self.suspected.remove(&(view, cohort));
                let id = self.next_id;
                self.next_id += 1;
                self.open.push(Incident {
                    id,
                    view,
                    verdict,
                    finding,
                    opened: now,
                    last: now,
                    ended: None,
                    readings: Vec::new(),
                });
            }
        }
        let troubled = self.troubled();
        self.answers.retain(|(site, _), _| troubled.contains(site));
        for incident in &mut self.open {
            incident.readings = witness::readings(&self.answers, incident.view.site, incident.verdict, now);
        }
        let resolve = self.config.resolve_after.ms();
        let (ended, open): (Vec<Incident>, Vec<Incident>) =
            std::mem::take(&mut self.open).into_iter().partition(|one| now - one.last >= resolve);
        self.open = open;
        self.ended.extend(ended.into_iter().map(|one| Incident { ended: Some(now), ..one }));
        if self.ended.len() > MAX_ENDED {
            self.ended.drain(..self.ended.len() - MAX_ENDED);
        }
    }

    /// Takes complete minutes into the baselines, except those of views with an incident.
    fn learn(&mut self, now: i64) {
        let complete = (now - COMPLETE_AFTER_MS).div_euclid(MINUTE_MS) - 1;
        let from =
            self.learned.map_or_else(|| self.minutes.keys().next().copied().unwrap_or(complete), |m| m + 1);
        for minute in from.max(complete - KEPT_MINUTES)..=complete {
            let ill: BTreeSet<View> =
                self.open.iter().filter(|one| now - one.opened < NEW_USUAL_MS).map(|one| one.view).collect();
            let suspected: BTreeSet<View> = self.suspected.keys().map(|(view, _)| *view).collect();
            let empty = Sums::default();
            let sums = self.minutes.get(&minute).unwrap_or(&empty);
            self.baselines.learn(minute, sums, |view| !ill.contains(&view) && !suspected.contains(&view));
        }
        self.learned = Some(complete.max(self.learned.unwrap_or(complete)));
        let oldest = now.div_euclid(MINUTE_MS) - KEPT_MINUTES;
        self.cells.forget_before(oldest);
        self.minutes = self.minutes.split_off(&oldest);
    }
}
