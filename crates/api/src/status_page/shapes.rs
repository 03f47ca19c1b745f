//! What the public may know: components with their days, incidents with their updates. The JSON of `/status.json`.

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// Days behind each component.
pub const DAYS: usize = 90;
pub(crate) const DAY_MS: i64 = 86_400_000;

/// How a component is, from well to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It works.
    Operational,
    /// Nobody knows.
    Unknown,
    /// It is being worked on, as announced.
    Maintenance,
    /// A part of it works.
    Degraded,
    /// It does not work.
    Outage,
}

impl State {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Operational => "Operational",
            Self::Unknown => "Not known",
            Self::Maintenance => "Under maintenance",
            Self::Degraded => "Degraded",
            Self::Outage => "Outage",
        }
    }

    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Unknown => "unknown",
            Self::Maintenance => "maintenance",
            Self::Degraded => "degraded",
            Self::Outage => "outage",
        }
    }
}

/// Time in each state on one day, in milliseconds; what is missing to a whole day is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Day {
    /// Days since 1970-01-01, UTC.
    pub day: i64,
    /// Operational.
    #[serde(skip_serializing_if = "none")]
    pub ok_ms: i64,
    /// Degraded.
    #[serde(skip_serializing_if = "none")]
    pub degraded_ms: i64,
    /// Outage.
    #[serde(skip_serializing_if = "none")]
    pub outage_ms: i64,
    /// Under maintenance.
    #[serde(skip_serializing_if = "none")]
    pub maintenance_ms: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn none(ms: &i64) -> bool {
    *ms == 0
}

impl Day {
    /// A day without knowledge.
    pub(crate) fn new(day: i64) -> Self {
        Self { day, ..Self::default() }
    }

    /// Adds `ms` in `state`.
    pub(crate) fn add(&mut self, state: State, ms: i64) {
        match state {
            State::Operational => self.ok_ms += ms,
            State::Degraded => self.degraded_ms += ms,
            State::Outage => self.outage_ms += ms,
            State::Maintenance => self.maintenance_ms += ms,
            State::Unknown => {}
        }
    }

    /// Adds what `now` has more than `before`.
    pub(crate) fn add_since(&mut self, now: &Self, before: &Self) {
        self.ok_ms += now.ok_ms - before.ok_ms;
        self.degraded_ms += now.degraded_ms - before.degraded_ms;
        self.outage_ms += now.outage_ms - before.outage_ms;
        self.maintenance_ms += now.maintenance_ms - before.maintenance_ms;
    }

    /// The worst state that took at least a minute, or any time when nothing did for that long.
    pub(crate) fn worst(&self) -> State {
        let floor = if self.ok_ms + self.maintenance_ms >= 60_000 { 60_000 } else { 1 };
        match self {
            Self { outage_ms, .. } if *outage_ms >= floor => State::Outage,
            Self { degraded_ms, .. } if *degraded_ms >= floor => State::Degraded,
            Self { maintenance_ms, .. } if *maintenance_ms >= floor => State::Maintenance,
            Self { ok_ms, .. } if *ok_ms > 0 => State::Operational,
            _ => State::Unknown,
        }
    }
}

/// One component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// Short name in addresses and events.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Heading that it stands under; may be empty.
    #[serde(default)]
    pub group: String,
    /// One line more; may be empty.
    #[serde(default)]
    pub description: String,
    /// How it is.
    pub state: State,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
    /// The last [`DAYS`] days, oldest first, the last is today.
    pub days: Vec<Day>,
}

impl Component {
    /// Time operational or degraded of all known time, maintenance left out; `None` without knowledge.
    pub fn uptime(&self) -> Option<f64> {
        let sum = |of: fn(&Day) -> i64| self.days.iter().map(of).sum::<i64>() as f64;
        let (up, down) = (sum(|day| day.ok_ms + day.degraded_ms), sum(|day| day.outage_ms));
        (up + down > 0.0).then(|| up / (up + down))
    }
}

/// How bad an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Impact {
    /// Some notice.
    Minor,
    /// Many cannot work.
    Major,
    /// Nobody can.
    Critical,
    /// Announced work.
    Maintenance,
}

impl Impact {
    /// What an open incident makes of a component.
    pub(crate) fn state(self) -> State {
        match self {
            Self::Minor => State::Degraded,
            Self::Major | Self::Critical => State::Outage,
            Self::Maintenance => State::Maintenance,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Minor => "Minor",
            Self::Major => "Major",
            Self::Critical => "Critical",
            Self::Maintenance => "Maintenance",
        }
    }
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Something is wrong, nobody knows what.
    Investigating,
    /// The cause is known.
    Identified,
    /// It is mended and looked after.
    Monitoring,
    /// It is over.
    Resolved,
    /// Maintenance that is to come.
    Scheduled,
    /// Maintenance that goes on.
    InProgress,
    /// Maintenance that is done.
    Completed,
}

impl Status {
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Resolved | Self::Completed)
    }

    pub(crate) fn is_of_maintenance(self) -> bool {
        matches!(self, Self::Scheduled | Self::InProgress | Self::Completed)
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Investigating => "Investigating",
            Self::Identified => "Identified",
            Self::Monitoring => "Monitoring",
            Self::Resolved => "Resolved",
            Self::Scheduled => "Scheduled",
            Self::InProgress => "In progress",
            Self::Completed => "Completed",
        }
    }
}

/// What was said of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// Where it stood.
    pub status: Status,
    /// For people; plain text.
    pub text: String,
}

/// An incident, or announced work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number: when it was opened, in milliseconds since the epoch, made unique.
    pub id: u64,
    /// One line.
    pub title: String,
    /// How bad.
    pub impact: Impact,
    /// Ids of components.
    #[serde(default)]
    pub components: Vec<String>,
    /// When it began or will begin.
    pub starts_ms: i64,
    /// When announced work ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_ms: Option<i64>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_ms: Option<i64>,
    /// Oldest first; at least one.
    pub updates: Vec<Update>,
}

impl Incident {
    /// Whether it makes its components worse now.
    pub(crate) fn holds(&self, now: Timestamp) -> bool {
        self.resolved_ms.is_none()
            && self.starts_ms <= now.ms()
            && self.ends_ms.is_none_or(|end| now.ms() < end)
    }

    pub(crate) fn status(&self) -> Status {
        self.updates.last().map_or(Status::Investigating, |update| update.status)
    }
}

/// Everything that the page shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The page's title.
    pub title: String,
    /// A line below it; may be empty.
    #[serde(default)]
    pub about: String,
    /// Where people reach the page; may be empty.
    #[serde(default)]
    pub url: String,
    /// When it was made.
    pub generated_ms: i64,
    /// How often it is made.
    pub interval_ms: i64,
    /// In the order of the configuration.
    pub components: Vec<Component>,
    /// Open ones, and those of the last [`DAYS`] days, newest first.
    pub incidents: Vec<Incident>,
}

impl Snapshot {
    /// The worst component.
    pub fn worst(&self) -> State {
        self.components.iter().map(|one| one.state).max().unwrap_or(State::Unknown)
    }

    /// Whether the one who makes it is silent.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        now.ms() - self.generated_ms > 3 * self.interval_ms.max(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_shows_its_worst_and_a_component_its_share() {
        let day = |ok: i64, degraded: i64, outage: i64| Day {
            day: 1,
            ok_ms: ok,
            degraded_ms: degraded,
            outage_ms: outage,
            maintenance_ms: 0,
        };
        assert_eq!(Day::new(1).worst(), State::Unknown);
        assert_eq!(day(DAY_MS, 0, 0).worst(), State::Operational);
        // A single round is no outage of a day that was well; on a day with nothing else it is all there is.
        assert_eq!(day(DAY_MS, 0, 30_000).worst(), State::Operational);
        assert_eq!(day(0, 0, 30_000).worst(), State::Outage);
        assert_eq!(day(DAY_MS, 60_000, 0).worst(), State::Degraded);
        assert_eq!(day(DAY_MS, 60_000, 60_000).worst(), State::Outage);
        let mut one = Component {
            id: "a".into(),
            name: "A".into(),
            group: String::new(),
            description: String::new(),
            state: State::Operational,
            since_ms: 0,
            days: vec![day(9_000, 500, 500), Day::new(2)],
        };
        assert_eq!(one.uptime(), Some(0.95));
        one.days.clear();
        assert_eq!(one.uptime(), None);
    }

    #[test]
    fn announced_work_holds_between_its_ends() {
        let work = Incident {
            id: 1,
            title: "Work".into(),
            impact: Impact::Maintenance,
            components: vec![],
            starts_ms: 100,
            ends_ms: Some(200),
            resolved_ms: None,
            updates: vec![],
        };
        assert_eq!([99, 100, 199, 200].map(|at| work.holds(Timestamp(at))), [false, true, true, false]);
        let open = Incident { ends_ms: None, ..work.clone() };
        assert!(open.holds(Timestamp(i64::MAX)));
        assert!(!Incident { resolved_ms: Some(150), ..open }.holds(Timestamp(160)));
    }
}
