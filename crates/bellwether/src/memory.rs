//! Huge pages for a large process only. The allocator asks the kernel for them everywhere, so that each small heap of a quiet server
//! would take 2 MiB of memory; a large head needs them, because its tables miss the processor's address cache otherwise.

use std::time::Duration;

use rustix::thread::disable_transparent_huge_pages;

/// Above this resident size huge pages are worth what they waste.
const LARGE_BYTES: u64 = 512 << 20;
/// How often the size is looked at until then.
const LOOK: Duration = Duration::from_secs(1);

/// Starts without huge pages. Kernels that refuse keep their own policy.
pub(crate) fn start_small() {
    if let Err(err) = disable_transparent_huge_pages(true) {
        tracing::debug!(error = %err, "the kernel's policy for huge pages stays");
    }
}

/// Waits until the process is large and allows huge pages then, for good.
pub(crate) async fn allow_huge_pages_when_large() {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match resident_bytes() {
            Some(bytes) if bytes < LARGE_BYTES => {}
            Some(bytes) => {
                match disable_transparent_huge_pages(false) {
                    Ok(()) => tracing::debug!(resident_bytes = bytes, "huge pages are allowed from here on"),
                    Err(err) => tracing::debug!(error = %err, "the kernel's policy for huge pages stays"),
                }
                return;
            }
            // Without procfs the size is unknown: stay small.
            None => return,
        }
    }
}

/// Memory of this process that is in RAM.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_this_process_is_known() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
