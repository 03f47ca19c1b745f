//! From the share of a component that works to the state that is shown. Pure.

use model::Timestamp;

use super::config::ComponentConfig;
use super::shapes::{DAY_MS, Day, Incident, State};

/// Rounds in a row that must agree before a change is shown.
const ROUNDS: u32 = 2;

/// What was measured. `share`: 0 … 1; `None` when nothing was.
pub(crate) fn measured(share: Option<f64>, config: &ComponentConfig) -> State {
    match share {
        Some(share) if share >= config.degraded_below => State::Operational,
        Some(share) if share < config.outage_below => State::Outage,
        Some(share) if share.is_finite() => State::Degraded,
        _ => State::Unknown,
    }
}

/// What is shown of a component: the measured state, settled, and what people have said of it.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    measured: State,
    /// A state that differs, and for how many rounds.
    other: Option<(State, u32)>,
    pub(crate) shown: State,
    pub(crate) since_ms: i64,
}

impl Settled {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { measured: State::Unknown, other: None, shown: State::Unknown, since_ms: now.ms() }
    }

    /// One round. Returns the state before when what is shown has changed.
    pub(crate) fn on(&mut self, state: State, said: Option<State>, now: Timestamp) -> Option<State> {
        // The first word after a start is believed at once.
        if state == self.measured || self.measured == State::Unknown {
            (self.measured, self.other) = (state, None);
        } else {
            let rounds = match self.other {
                Some((other, rounds)) if other == state => rounds + 1,
                _ => 1,
            };
            self.other = Some((state, rounds));
            if rounds >= ROUNDS {
                (self.measured, self.other) = (state, None);
            }
        }
        self.say(said, now)
    }

    /// What people say has changed; the measured state stays.
    pub(crate) fn say(&mut self, said: Option<State>, now: Timestamp) -> Option<State> {
        // Announced work explains whatever is measured; an incident makes it worse, never better.
        let shown = match said {
            Some(State::Maintenance) => State::Maintenance,
            Some(said) => said.max(self.measured),
            None => self.measured,
        };
        if shown == self.shown {
            return None;
        }
        self.since_ms = now.ms();
        Some(std::mem::replace(&mut self.shown, shown))
    }
}

/// What open incidents say of a component: maintenance when it is announced, else the worst.
pub(crate) fn said<'a>(
    incidents: impl IntoIterator<Item = &'a Incident>,
    id: &str,
    now: Timestamp,
) -> Option<State> {
    let about = incidents.into_iter().filter(|one| one.holds(now) && one.components.iter().any(|c| c == id));
    let states: Vec<State> = about.map(|one| one.impact.state()).collect();
    if states.contains(&State::Maintenance) {
        return Some(State::Maintenance);
    }
    states.into_iter().max()
}

/// Books the time from `from` to `to` on the days that it touches. `days` is in order.
pub(crate) fn book(days: &mut Vec<Day>, state: State, from: Timestamp, to: Timestamp) {
    let mut at = from.ms();
    while at < to.ms() {
        let day = at.div_euclid(DAY_MS);
        let until = to.ms().min((day + 1) * DAY_MS);
        match days.binary_search_by_key(&day, |one| one.day) {
            Ok(index) => days[index].add(state, until - at),
            Err(index) => {
                let mut one = Day::new(day);
                one.add(state, until - at);
                days.insert(index, one);
            }
        }
        at = until;
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes::Impact;
    use super::*;

    #[test]
    fn shares_become_states() {
        let config =
            ComponentConfig { degraded_below: 0.99, outage_below: 0.5, ..ComponentConfig::default() };
        let of = |share| measured(share, &config);
        assert_eq!(of(Some(1.0)), State::Operational);
        assert_eq!(of(Some(0.99)), State::Operational);
        assert_eq!(of(Some(0.98)), State::Degraded);
        assert_eq!(of(Some(0.5)), State::Degraded);
        assert_eq!(of(Some(0.49)), State::Outage);
        assert_eq!(of(Some(f64::NAN)), State::Unknown);
        assert_eq!(of(None), State::Unknown);
    }

    #[test]
    fn a_change_is_shown_when_two_rounds_agree() {
        let at = Timestamp;
        let mut one = Settled::new(at(0));
        assert_eq!(one.on(State::Operational, None, at(1)), Some(State::Unknown));
        assert_eq!(one.on(State::Outage, None, at(2)), None);
        assert_eq!(one.on(State::Operational, None, at(3)), None);
        assert_eq!(one.on(State::Outage, None, at(4)), None);
        assert_eq!(one.on(State::Outage, None, at(5)), Some(State::Operational));
        assert_eq!((one.shown, one.since_ms), (State::Outage, 5));
        // What nobody measures any more is not called well.
        one.on(State::Unknown, None, at(6));
        one.on(State::Unknown, None, at(7));
        assert_eq!(one.shown, State::Unknown);
    }

    #[test]
    fn people_can_make_it_worse_or_announce_work() {
        let at = Timestamp;
        let mut one = Settled::new(at(0));
        one.on(State::Operational, None, at(1));
        assert_eq!(one.say(Some(State::Degraded), at(2)), Some(State::Operational));
        one.on(State::Outage, Some(State::Degraded), at(3));
        one.on(State::Outage, Some(State::Degraded), at(4));
        assert_eq!(one.shown, State::Outage);
        one.say(Some(State::Maintenance), at(5));
        assert_eq!(one.shown, State::Maintenance);
        assert_eq!(one.say(None, at(6)), Some(State::Maintenance));
        assert_eq!(one.shown, State::Outage);
        let incident = |impact, components: &[&str]| Incident {
            id: 1,
            title: String::new(),
            impact,
            components: components.iter().map(|id| (*id).to_owned()).collect(),
            starts_ms: 10,
            ends_ms: None,
            resolved_ms: None,
            updates: vec![],
        };
        let all = [incident(Impact::Minor, &["a", "b"]), incident(Impact::Critical, &["a"])];
        assert_eq!(said(&all, "a", at(10)), Some(State::Outage));
        assert_eq!(said(&all, "b", at(10)), Some(State::Degraded));
        assert_eq!(said(&all, "c", at(10)), None);
        assert_eq!(said(&all, "a", at(9)), None);
    }

    #[test]
    fn time_is_booked_on_the_days_it_touches() {
        let mut days = Vec::new();
        book(&mut days, State::Operational, Timestamp(DAY_MS - 1000), Timestamp(DAY_MS + 500));
        book(&mut days, State::Outage, Timestamp(DAY_MS + 500), Timestamp(DAY_MS + 700));
        book(&mut days, State::Unknown, Timestamp(DAY_MS + 700), Timestamp(DAY_MS + 900));
        let seen: Vec<_> = days.iter().map(|day| (day.day, day.ok_ms, day.outage_ms)).collect();
        assert_eq!(seen, [(0, 1000, 0), (1, 500, 200)]);
    }
}
