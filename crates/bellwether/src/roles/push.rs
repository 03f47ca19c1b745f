//! The receivers of pushes, opened and closed together.

use std::sync::Arc;

use model::{Appender, Clock};
use sources::config::OtlpConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::otlp::{Options, Promote};

use crate::config::Config;

/// Everything that receives.
pub(super) struct Receivers {
    pub(super) http: Arc<ingest::Push>,
    pub(super) pushgateway: Arc<ingest::Pushgateway>,
    sockets: ingest::Sockets,
    stop: watch::Sender<bool>,
    rounds: JoinHandle<()>,
}

impl Receivers {
    pub(super) async fn open(
        config: &Config,
        gate: &Arc<dyn Appender>,
        clock: &Arc<dyn Clock>,
        metrics: &ingest::Metrics,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let settings = &config.settings.ingest;
        let parts = || (Arc::clone(gate), Arc::clone(clock), metrics.clone());
        let (appender, time, counts) = parts();
        let otlp = otlp_options(&config.prometheus.otlp);
        let http = Arc::new(ingest::Push::new(settings, otlp, appender, time, counts, seed));
        let (appender, time, counts) = parts();
        let folder = config.settings.storage.path.join("pushgateway");
        let limit = settings.max_decompressed_bytes;
        let pushgateway =
            ingest::Pushgateway::open(&settings.pushgateway, limit, folder, appender, time, counts)?;
        let pushgateway = Arc::new(pushgateway);
        let (appender, time, counts) = parts();
        let sockets = ingest::Sockets::open(settings, appender, time, counts, seed).await?;
        let (stop, stopped) = watch::channel(false);
        let rounds = tokio::spawn(Arc::clone(&pushgateway).run(stopped));
        Ok(Self { http, pushgateway, sockets, stop, rounds })
    }

    /// Ends what runs on its own; HTTP ends with the web server.
    pub(super) async fn close(self) {
        self.stop.send_replace(true);
        self.sockets.close().await;
        if let Err(err) = self.rounds.await {
            tracing::error!(error = %err, "the pushgateway's rounds ended early");
        }
    }
}

/// Prometheus' section `otlp` as the decoder wants it.
pub(super) fn otlp_options(config: &OtlpConfig) -> Options {
    let strategy = config.translation_strategy.as_str();
    Options {
        escape: !matches!(strategy, "NoUTF8EscapingWithSuffixes" | "NoTranslation"),
        suffixes: !matches!(strategy, "UnderscoreEscapingWithoutSuffixes" | "NoTranslation"),
        promote: match config.promote_all_resource_attributes {
            true => Promote::AllBut(config.ignore_resource_attributes.clone()),
            false => Promote::Only(config.promote_resource_attributes.clone()),
        },
        keep_identifying: config.keep_identifying_resource_attributes,
        histograms_to_nhcb: config.convert_histograms_to_nhcb,
        promote_scope: config.promote_scope_metadata,
        underscore_sanitization: config.label_name_underscore_sanitization.unwrap_or(true),
        preserve_multiple_underscores: config.label_name_preserve_multiple_underscores.unwrap_or(true),
        target_info: true,
    }
}
