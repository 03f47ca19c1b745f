//! What the alert manager has on the side: heartbeats to the outside, its journal, its alerts as series.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use alerts::Dispatcher;
use anyhow::Context;
use rules::Ruler;
use sources::scrape::{Collector, InProcess, Scraper};
use tokio::task::JoinHandle;

/// Heartbeats for as long as they run.
pub(super) struct Heartbeats(Vec<JoinHandle<()>>);

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Starts the heartbeats that are set: they stay away when rules or the alert manager stand still.
pub(super) fn heartbeats(dispatcher: &Dispatcher, ruler: &Arc<Ruler>) -> Result<Heartbeats, alerts::Error> {
    let (dispatcher, ruler) = (dispatcher.clone(), Arc::clone(ruler));
    let (settings, metrics) = (dispatcher.settings().heartbeats.clone(), dispatcher.metrics().clone());
    let check: alerts::heartbeat::Check = Arc::new(move || {
        dispatcher.check_alive()?;
        ruler.check_alive()
    });
    Ok(Heartbeats(alerts::heartbeat::start(&settings, &check, &metrics)?))
}

/// Where the alert manager notes what arrived just now.
pub(super) fn journal(data: &Path) -> anyhow::Result<alerts::Journal> {
    let path = data.join("alerts.sent");
    alerts::Journal::open(&path).with_context(|| format!("cannot open {}", path.display()))
}

/// Stores the alerts that are held as series, so that PromQL joins them.
pub(super) fn alert_series(dispatcher: &Dispatcher, scraper: &Scraper) {
    let settings = dispatcher.settings().history.clone();
    if settings.series == 0 {
        return;
    }
    let dispatcher = dispatcher.clone();
    let collect: Collector = Arc::new(move || {
        let dispatcher = dispatcher.clone();
        Box::pin(async move {
            let (families, left_out) = alerts::series::families(&dispatcher, settings.series);
            dispatcher.metrics().series_left_out.set(i64::try_from(left_out).unwrap_or(i64::MAX));
            families
        })
    });
    scraper.add(&InProcess {
        job: "alerts".to_owned(),
        instance: "alertmanager".to_owned(),
        labels: BTreeMap::new(),
        interval: settings.series_interval,
        timeout: settings.series_interval,
        honor_labels: true,
        wake: None,
        collect,
    });
}
