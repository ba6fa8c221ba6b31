//! How much memory the host takes, so that somebody hears of it before the system ends the process.
//!
//! Guests have limits, and a provider in a process of its own is ended alone. What a provider inside
//! the host keeps is the host's own memory: nothing tells which of them has it, but that it grows can be
//! told, and who may have it.

use std::fs;

use lattice_core::event::HostMemoryHigh;
use lattice_runtime::memory_bytes;

/// From what share of its memory on a host tells, in percent, and below which it is well again.
const HIGH: u64 = 80;
const WELL: u64 = 70;
/// By how much it has to grow until it is told again, in percent of all.
const STEP: u64 = 5;

/// Watches the memory of this process.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    /// What the machine or its control group gives.
    limit: u64,
    /// What it was when it was last told, unless it has been well since.
    told: Option<u64>,
}

impl MemoryWatch {
    pub(crate) fn new() -> Self {
        Self::of(memory_bytes())
    }

    fn of(limit: u64) -> Self {
        Self { limit, told: None }
    }

    /// What is to be told of the host now, if something is.
    pub(crate) fn look(
        &mut self,
        host_id: &str,
        inside: impl FnOnce() -> Vec<String>,
    ) -> Option<HostMemoryHigh> {
        let resident = resident_bytes()?;
        if !self.is_news(resident) {
            return None;
        }
        let report = HostMemoryHigh {
            host_id: host_id.to_owned(),
            resident_bytes: resident,
            limit_bytes: self.limit,
            builtin_providers: inside(),
        };
        warn(&report);
        Some(report)
    }

    fn is_news(&mut self, resident: u64) -> bool {
        let percent = |share| self.limit / 100 * share;
        if resident < percent(WELL) {
            self.told = None;
        }
        let from = self.told.map_or(percent(HIGH), |told| told + percent(STEP));
        let is_news = resident >= from;
        if is_news {
            self.told = Some(resident);
        }
        is_news
    }
}

fn warn(report: &HostMemoryHigh) {
    tracing::warn!(
        resident_bytes = report.resident_bytes,
        limit_bytes = report.limit_bytes,
        providers_inside = report.builtin_providers.join(", "),
        "the host takes most of the memory that it may have; a provider inside it that keeps more and \
         more is found by running it as a process of its own (`--isolated`, or its file in the place of \
         `builtin://`), guests by their `max_memory_limit` and maximum of instances"
    );
}

/// The second field of `/proc/self/statm`, which counts in pages.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_in_steps_until_it_is_well_again() {
        let mut watch = MemoryWatch::of(1000);
        let told = |watch: &mut MemoryWatch, all: &[u64]| -> Vec<u64> {
            let news = all.iter().filter(|resident| watch.is_news(**resident));
            news.copied().collect()
        };
        let grows: Vec<u64> = (0..=1000).collect();
        assert_eq!(told(&mut watch, &grows), [800, 850, 900, 950, 1000]);
        assert_eq!(told(&mut watch, &[990, 800, 750, 900]), [0; 0]);
        assert_eq!(told(&mut watch, &[690, 799, 810, 820]), [810]);
    }

    #[test]
    fn who_may_have_it_is_told() {
        let inside = || vec!["memory".to_owned()];
        let told = MemoryWatch::of(1).look("NHOST", inside).unwrap();
        assert_eq!((&*told.host_id, told.limit_bytes), ("NHOST", 1));
        assert_eq!(told.builtin_providers, ["memory"]);
        assert!(told.resident_bytes > 1 << 20);
        assert!(MemoryWatch::of(u64::MAX).look("NHOST", inside).is_none());
    }
}
