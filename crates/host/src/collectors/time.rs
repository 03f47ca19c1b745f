//! `time` and `timex`: the clock, and how well the kernel keeps it.

use std::sync::Arc;

use model::Clock;
use model::MetricType::{self, Counter, Gauge};

use crate::files::Files;
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct Time {
    clock: Arc<dyn Clock>,
}

impl Time {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Collector for Time {
    fn name(&self) -> &'static str {
        "time"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let now = self.clock.now();
        out.gauge(
            "node_time_seconds",
            "The host's wall time, in seconds since the epoch.",
            &[],
            now.seconds(),
        );
        let zone = jiff::tz::TimeZone::system();
        if let Ok(at) = jiff::Timestamp::from_millisecond(now.ms()) {
            let info = zone.to_offset_info(at);
            let label = [("time_zone", info.abbreviation())];
            let offset = f64::from(info.offset().seconds());
            out.gauge(
                "node_time_zone_offset_seconds",
                "Seconds that the host's time zone is ahead of UTC.",
                &label,
                offset,
            );
        }
        let folder = "devices/system/clocksource";
        for source in files.sys_list(folder).unwrap_or_default() {
            let Some(device) = source.strip_prefix("clocksource") else { continue };
            let words = |file: &str| files.sys(&format!("{folder}/{source}/{file}")).unwrap_or_default();
            for (file, metric, help) in [
                ("available_clocksource", "available", "A clock source that the kernel could use."),
                ("current_clocksource", "current", "The clock source that the kernel uses."),
            ] {
                for name in words(file).split_ascii_whitespace() {
                    let labels = [("clocksource", name), ("device", device)];
                    out.gauge(&format!("node_time_clocksource_{metric}_info"), help, &labels, 1.0);
                }
            }
        }
        Ok(())
    }
}

pub(crate) struct Timex;

/// STA_NANO of adjtimex(2): times are in nanoseconds, not microseconds.
const STA_NANO: i32 = 0x2000;
/// TIME_ERROR of adjtimex(2): the clock is not synchronised.
const TIME_ERROR: i32 = 5;
/// Parts per million with a 16-bit fraction.
const PPM16: f64 = 65536.0 * 1e6;

impl Collector for Timex {
    fn name(&self) -> &'static str {
        "timex"
    }

    fn collect(&mut self, _files: &Files, out: &mut Output) -> Result<(), Error> {
        let (state, timex) = read().map_err(|source| match source.raw_os_error() {
            // Forbidden in some containers.
            Some(libc::EPERM) => Error::Absent("adjtimex is not permitted".into()),
            _ => Error::Read { path: "adjtimex".into(), source },
        })?;
        let unit = if timex.status & STA_NANO != 0 { 1e9 } else { 1e6 };
        let synchronised = f64::from(u8::from(state != TIME_ERROR));
        let metrics: [(&str, MetricType, &str, f64); 17] = [
            (
                "sync_status",
                Gauge,
                "Whether a time daemon keeps the clock synchronised: 1 yes, 0 no.",
                synchronised,
            ),
            ("offset_seconds", Gauge, "How far the clock is from its reference.", timex.offset as f64 / unit),
            (
                "frequency_adjustment_ratio",
                Gauge,
                "By what factor the clock's speed is corrected.",
                1.0 + timex.freq as f64 / PPM16,
            ),
            ("maxerror_seconds", Gauge, "The largest error the clock may have.", timex.maxerror as f64 / 1e6),
            (
                "estimated_error_seconds",
                Gauge,
                "The error the clock is thought to have.",
                timex.esterror as f64 / 1e6,
            ),
            ("status", Gauge, "The status bits of adjtimex.", f64::from(timex.status)),
            (
                "loop_time_constant",
                Gauge,
                "The time constant of the phase-locked loop.",
                timex.constant as f64,
            ),
            ("tick_seconds", Gauge, "Time between two ticks of the clock.", timex.tick as f64 / 1e6),
            (
                "pps_frequency_hertz",
                Gauge,
                "Frequency of the pulse-per-second signal.",
                timex.ppsfreq as f64 / PPM16,
            ),
            (
                "pps_jitter_seconds",
                Gauge,
                "Jitter of the pulse-per-second signal.",
                timex.jitter as f64 / unit,
            ),
            (
                "pps_shift_seconds",
                Gauge,
                "Duration over which the pulse-per-second signal is averaged.",
                f64::from(timex.shift),
            ),
            (
                "pps_stability_hertz",
                Gauge,
                "Mean change of the pulse-per-second signal's frequency.",
                timex.stabil as f64 / PPM16,
            ),
            ("pps_jitter_total", Counter, "Pulses with more jitter than allowed.", timex.jitcnt as f64),
            (
                "pps_calibration_total",
                Counter,
                "Calibration intervals of the pulse-per-second signal.",
                timex.calcnt as f64,
            ),
            (
                "pps_error_total",
                Counter,
                "Failed calibrations of the pulse-per-second signal.",
                timex.errcnt as f64,
            ),
            (
                "pps_stability_exceeded_total",
                Counter,
                "Calibrations with more frequency change than allowed.",
                timex.stbcnt as f64,
            ),
            ("tai_offset_seconds", Gauge, "International atomic time less UTC.", f64::from(timex.tai)),
        ];
        for (name, kind, help, value) in metrics {
            out.add(&format!("node_timex_{name}"), kind, help, &[], value);
        }
        Ok(())
    }
}

/// Asks the kernel without changing anything.
#[expect(unsafe_code, reason = "no safe wrapper of adjtimex is maintained")]
fn read() -> std::io::Result<(i32, libc::timex)> {
    // SAFETY: `timex` is plain integers, for which all zeroes is a value; `modes` 0 makes the call read only. The pointer is
    // valid for the call's duration.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    if state < 0 { Err(std::io::Error::last_os_error()) } else { Ok((state, timex)) }
}
