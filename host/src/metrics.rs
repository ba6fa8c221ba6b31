//! What the host tells of itself to those who watch it, as OpenMetrics text.

use std::fs;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use crate::inventory::Inventory;
use crate::memory::resident_bytes;

/// How the text is announced.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Reads the figures of a host when somebody asks for them; in between it costs nothing.
pub(crate) struct Metrics {
    inventory: Arc<Inventory>,
    /// The threads that serve connections, and those for calls that keep them busy.
    threads: Vec<(&'static str, Handle)>,
}

/// One moment of a host.
struct Figures {
    tasks: Vec<(&'static str, usize)>,
    components: usize,
    providers: usize,
    uptime_seconds: u64,
    resident_bytes: Option<u64>,
    open_files: Option<usize>,
}

impl Metrics {
    /// Tells of the runtime that it is made in and, where there is one, that for long calls.
    pub(crate) fn new(inventory: Arc<Inventory>, long_calls: Option<Handle>) -> Self {
        let mut threads = vec![("serving", Handle::current())];
        threads.extend(long_calls.map(|handle| ("long_calls", handle)));
        Self { inventory, threads }
    }

    /// The figures of now.
    pub(crate) fn text(&self) -> String {
        let alive =
            |(name, handle): &(&'static str, Handle)| (*name, handle.metrics().num_alive_tasks());
        let inventory = self.inventory.full();
        let figures = Figures {
            tasks: self.threads.iter().map(alive).collect(),
            components: inventory.components.len(),
            providers: inventory.providers.len(),
            uptime_seconds: inventory.uptime_seconds,
            resident_bytes: resident_bytes(),
            open_files: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
        };
        figures.text()
    }
}

impl Figures {
    fn text(&self) -> String {
        let mut registry = Registry::default();
        let tasks = Family::<[(&str, &str); 1], Gauge>::default();
        for (threads, alive) in &self.tasks {
            tasks
                .get_or_create(&[("threads", *threads)])
                .set(gauged(*alive as u64));
        }
        registry.register("lattice_tasks", "Tasks that have not ended", tasks);
        let mut one = |name, help, value: Option<u64>| {
            if let Some(value) = value {
                let gauge: Gauge = Gauge::default();
                gauge.set(gauged(value));
                registry.register(name, help, gauge);
            }
        };
        let (components, providers) = (self.components as u64, self.providers as u64);
        one(
            "lattice_components",
            "Components that run",
            Some(components),
        );
        one("lattice_providers", "Providers that run", Some(providers));
        let uptime = Some(self.uptime_seconds);
        one("lattice_uptime_seconds", "Time since the start", uptime);
        let resident = self.resident_bytes;
        one("process_resident_memory_bytes", "Resident memory", resident);
        let files = self.open_files.map(|files| files as u64);
        one("process_open_fds", "Open files and sockets", files);
        let mut text = String::new();
        // Writing to memory does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

fn gauged(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_a_line() {
        let figures = Figures {
            tasks: vec![("serving", 12), ("long_calls", 3)],
            components: 2,
            providers: 1,
            uptime_seconds: 60,
            resident_bytes: Some(4096),
            open_files: None,
        };
        let text = figures.text();
        for line in [
            "lattice_tasks{threads=\"serving\"} 12",
            "lattice_tasks{threads=\"long_calls\"} 3",
            "lattice_components 2",
            "lattice_providers 1",
            "lattice_uptime_seconds 60",
            "process_resident_memory_bytes 4096",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!text.contains("process_open_fds") && text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_process_knows_its_memory() {
        assert!(resident_bytes().unwrap() > 100 << 10);
    }
}
