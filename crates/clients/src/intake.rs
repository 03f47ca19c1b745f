//! An upload's way in: admitted, read, reduced, counted once.

use ring::hmac;

use crate::browser;
use crate::cell::{Cell, Count};
use crate::class::Group;
use crate::collector::{Answer, Collector, Upload};
use crate::detect::MINUTE_MS;
use crate::geo::{self, Place};
use crate::guard::Guard;
use crate::metrics::{Code, Reason};
use crate::names::Names;
use crate::report::{self, Kind, Refused, Report, Source};
use crate::rollup::Row;
use crate::sites::{Live, Sites};

/// A signed path outlives the policy by what browsers may still hold back.
const PATH_GRACE_MS: i64 = 48 * 3_600_000;
/// Least share that is believed when a site's policy names a smaller one.
const MIN_FRACTION: f64 = 1e-4;

/// Who sent an upload, as far as it matters for its reports.
struct Sender<'a> {
    site: u16,
    live: &'a Live,
    /// The header `Origin`, read; empty for one that matches nothing.
    origin: Option<String>,
    prefix: u64,
    place: Place,
    datacenter: bool,
    /// Of the header; reports may name another.
    family: u8,
    now: i64,
    /// Numbers of the client by browser family: an upload rarely has more than one.
    clients: Vec<(u8, u64)>,
}

/// A report that is counted.
struct Taken {
    minute: i64,
    cell: Cell,
    count: Count,
}

impl Collector {
    /// Takes an upload. With `keep_reports` it blocks until the disk has it.
    pub fn upload(&self, upload: &Upload<'_>) -> Answer {
        let answer = self.take(upload);
        self.metrics.uploads.get_or_create(&Code { code: answer.status }).inc();
        answer
    }

    /// The site of an upload's path, when it takes reports.
    fn site<'a>(&self, sites: &'a Sites, path: &str, now: i64) -> Result<(u16, &'a Live), Answer> {
        let (name, signature) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let Some((index, live)) = sites.find(name) else {
            return Err(Answer::new(404, "no such site; it must be among collector.sites\n"));
        };
        if live.site.retired {
            return Err(Answer::new(410, "this site takes no more reports\n"));
        }
        match signature {
            None | Some("") if !live.site.signed => {}
            signature => {
                let valid = live.site.max_age.ms().saturating_add(PATH_GRACE_MS);
                let checked = self.secret.check(name, signature.unwrap_or_default(), now, valid);
                checked.map_err(|bad| Answer::new(403, format!("{bad}\n")))?;
            }
        }
        Ok((index, live))
    }

    fn take(&self, upload: &Upload<'_>) -> Answer {
        let now = self.now();
        let sites = self.sites();
        let (site, live) = match self.site(&sites, upload.path, now) {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        if upload.body.len() > self.config.max_body_bytes {
            let max = self.config.max_body_bytes;
            return Answer::new(
                413,
                format!("the body is larger than {max} bytes (collector.max_body_bytes)\n"),
            );
        }
        let place = self.geo.place(upload.client);
        let mut sender = Sender {
            site,
            live,
            origin: upload.origin.map(|header| crate::origin::origin(header).unwrap_or_default()),
            prefix: geo::prefix(upload.client),
            place,
            datacenter: !self.config.count_datacenters && sites.is_datacenter(place.asn),
            family: browser::family(upload.user_agent),
            now,
            clients: Vec::new(),
        };
        let reports = match report::parse(upload.body, self.seed, self.config.max_reports) {
            Ok(reports) => reports,
            Err(unreadable) => return Answer::new(400, format!("{unreadable}\n")),
        };
        let mut guard = self.guard.lock();
        if let Err(bound) = guard.admit(sender.prefix, place.asn, site, reports.len(), now) {
            self.metrics.throttled.get_or_create(&Reason { reason: bound.as_str() }).inc();
            return Answer::new(429, "too many reports\n");
        }
        let mut names = self.names.lock();
        let mut taken = Vec::with_capacity(reports.len());
        let mut prints = Vec::with_capacity(reports.len());
        for report in reports {
            let counted = report
                .and_then(|report| self.count(&mut sender, &report, &mut guard, &mut names, &mut prints));
            match counted {
                Ok(Some(one)) => taken.push(one),
                Ok(None) => {}
                Err(refused) => {
                    self.metrics.refused.get_or_create(&Reason { reason: refused.as_str() }).inc();
                }
            }
        }
        drop(guard);
        if let Some(keep) = &self.keep
            && !taken.is_empty()
        {
            let row = |one: &Taken| Row::new(one.minute, &one.cell, &one.count, &names);
            let rows: Vec<Row> = taken.iter().map(row).collect();
            drop(names);
            if let Err(err) = keep.append(&rows, now) {
                tracing::error!(error = %err, "reports cannot be kept; the upload is refused so that it comes again");
                self.metrics.keep_failures.inc();
                let mut guard = self.guard.lock();
                prints.into_iter().for_each(|(client, print)| guard.forget(client, print));
                return Answer::new(503, "reports cannot be stored now, try again\n");
            }
        } else {
            drop(names);
        }
        let mut accepted = 0;
        let mut fresh = self.fresh.lock();
        for Taken { minute, cell, count } in taken {
            fresh.add(minute, cell, &count);
            accepted += u64::from(count.reports);
        }
        drop(fresh);
        self.metrics.accepted.inc_by(accepted);
        Answer::new(204, "")
    }

    /// Reduces a report to its cell; `None` when it is only counted by kind.
    fn count(
        &self,
        sender: &mut Sender<'_>,
        report: &Report,
        guard: &mut Guard,
        names: &mut Names,
        prints: &mut Vec<(u64, u64)>,
    ) -> Result<Option<Taken>, Refused> {
        let now = sender.now;
        let family = report.family.unwrap_or(sender.family);
        self.admit(sender, report, family)?;
        let client = self.client(sender, family);
        let event = now - report.age_ms;
        if guard.is_repeated(client, report.fingerprint, event, now) {
            return Err(Refused::Duplicate);
        }
        prints.push((client, report.fingerprint));
        let place_of_client = 1u64 << (client % 64);
        let (source, class, protocol, count, fraction, server) = match report.kind {
            Kind::Network { source, class, protocol, count, fraction, server } => {
                (source, class, protocol, count, fraction, server)
            }
            Kind::Counted(kind) => {
                if guard.contribute(client, 0x80 | kind as u8, false, 1, now) == 0 {
                    return Err(Refused::Contribution);
                }
                let mut others = self.others.lock();
                let entry = others.entry((sender.site, kind)).or_default();
                *entry = (entry.0 + 1, entry.1 | place_of_client);
                self.metrics.accepted.inc();
                return Ok(None);
            }
        };
        let group = class.group();
        if group.is_failure() && !guard.is_another(sender.prefix, sender.site, family, now) {
            return Err(Refused::Contribution);
        }
        let group_key = (source as u8) << 4 | group as u8;
        let counted = guard.contribute(client, group_key, group == Group::Ok, count, now);
        if counted == 0 {
            return Err(Refused::Contribution);
        }
        let site = &sender.live.site;
        let policy = if group == Group::Ok { site.success_fraction } else { site.failure_fraction };
        let weight = 1.0 / fraction.max(policy.clamp(MIN_FRACTION, 1.0));
        let cell = Cell {
            site: sender.site,
            origin: names.origins.number(&report.origin),
            pop: server.map_or(0, |server| names.pop(sender.site, server)),
            class,
            source,
            protocol,
            browser: family,
            country: sender.place.country,
            asn: sender.place.asn,
        };
        let count = Count {
            reports: counted,
            weight: (weight * f64::from(counted)) as f32,
            square: (weight * weight * f64::from(counted)) as f32,
            clients: place_of_client,
        };
        Ok(Some(Taken { minute: event.div_euclid(MINUTE_MS), cell, count }))
    }

    /// Whether a report may count at all.
    fn admit(&self, sender: &Sender<'_>, report: &Report, family: u8) -> Result<(), Refused> {
        let ours = |origin: &str| sender.live.patterns.iter().any(|pattern| pattern.matches(origin));
        if !ours(&report.origin) {
            return Err(Refused::Origin);
        }
        // A browser names the reported origin for its own reports; a page names its own, which is one of the site's.
        let source = match report.kind {
            Kind::Network { source, .. } => source,
            Kind::Counted(_) => Source::Nel,
        };
        if let Some(origin) = &sender.origin {
            let fits = if source == Source::Nel { *origin == report.origin } else { ours(origin) };
            if !fits {
                return Err(Refused::Sender);
            }
        }
        if report.age_ms > self.config.max_age.ms() {
            return Err(Refused::TooOld);
        }
        if !self.config.count_automated && browser::is_automated(family) {
            return Err(Refused::Automated);
        }
        // Applications run in data centres, people do not.
        if sender.datacenter && source != Source::Native {
            return Err(Refused::Datacenter);
        }
        Ok(())
    }

    /// A client's number for today: of its network prefix, browser family and site, under a key that changes every day.
    fn client(&self, sender: &mut Sender<'_>, family: u8) -> u64 {
        if let Some((_, known)) = sender.clients.iter().find(|(of, _)| *of == family) {
            return *known;
        }
        let day = sender.now.div_euclid(86_400_000);
        let mut key = self.day_key.lock();
        if key.0 != day {
            *key = (day, self.secret.day_key(sender.now));
        }
        let mut context = hmac::Context::with_key(&key.1);
        drop(key);
        context.update(&sender.prefix.to_be_bytes());
        context.update(&[family]);
        context.update(sender.live.site.name.as_bytes());
        let tag = context.sign();
        let number = tag.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        sender.clients.push((family, number));
        number
    }
}
