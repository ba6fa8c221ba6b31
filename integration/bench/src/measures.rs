//! What is measured in interleaved rounds: one entry each.

use crate::calls::{LARGE, SMALL, Target};

/// One entry.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    /// What its ratio is against: the first of these that is measured.
    pub(crate) of: &'static [&'static str],
    /// Whose CPU time counts.
    pub(crate) metered: &'static [Process],
    /// What is repeated.
    pub(crate) work: Work,
}

/// A process whose CPU time can be metered. Redis and the load generator never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    Nats,
    Host,
    /// The host of the site [`Site::Untraced`].
    UntracedHost,
    /// That of [`Site::Traced`].
    TracedHost,
    HttpServer,
    KeyvalueRedis,
    Responder,
    Hyper,
    Wasmtime,
}

/// What is repeated while a measure runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Bare requests over NATS.
    Bus { in_flight: usize, size: usize },
    /// Calls of a component's echo over NATS.
    Call {
        target: Target,
        in_flight: usize,
        size: usize,
        /// Whether the calls prove who makes them.
        proven: bool,
    },
    /// HTTP requests.
    Get { site: Site, connections: usize },
    /// Calls from component to component within one host; the figure is CPU time per call.
    Repeat { times: u32, size: u32 },
}

/// Something that answers HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Site {
    /// A component behind the HTTP server in a process of its own.
    Hello,
    /// The same, over the socket that joins it with the host.
    HelloSocket,
    /// The same, which counts in a key-value store: Redis, behind a provider of its own.
    Counter,
    /// The component behind the HTTP server in the host.
    HelloInside,
    /// The same with instances that serve one request after the other.
    HelloReused,
    /// The counter, HTTP server and store all in the host.
    CounterInside,
    /// As [`Site::HelloInside`], on a host of its own that exports no traces.
    Untraced,
    /// The same on one that exports those of one request in a hundred.
    Traced,
    /// No component at all.
    Hyper,
    /// The component behind `wasmtime serve`.
    Wasmtime,
}

impl Site {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Counter | Self::CounterInside => "/bench",
            _ => "/",
        }
    }
}

impl Work {
    /// Whether the figure is CPU time per call and not throughput.
    pub(crate) fn is_time(self) -> bool {
        matches!(self, Self::Repeat { .. })
    }
}

/// Payload of bare requests and component calls, in bytes, unless the name says otherwise.
const SIZE: usize = 64;
/// Payload of those that carry a lot.
const LARGE_SIZE: usize = 64 * 1024;
/// How many requests with a large payload are in flight.
const LARGE_IN_FLIGHT: usize = 16;

const BUS: &[Process] = &[Process::Nats, Process::Responder];
const LATTICE: &[Process] = &[Process::Nats, Process::Host];
const UNTRACED: &[Process] = &[Process::Nats, Process::UntracedHost];
const TRACED: &[Process] = &[Process::Nats, Process::TracedHost];
const HTTP: &[Process] = &[Process::Nats, Process::Host, Process::HttpServer];
const COUNTER: &[Process] = &[
    Process::Nats,
    Process::Host,
    Process::HttpServer,
    Process::KeyvalueRedis,
];

const fn bus(name: &'static str, in_flight: usize, size: usize) -> Measure {
    Measure {
        name,
        of: &[],
        metered: BUS,
        work: Work::Bus { in_flight, size },
    }
}

const fn call(
    name: &'static str,
    of: &'static [&'static str],
    target: Target,
    in_flight: usize,
    size: usize,
) -> Measure {
    Measure {
        name,
        of,
        metered: LATTICE,
        work: Work::Call {
            target,
            in_flight,
            size,
            proven: false,
        },
    }
}

/// Calls that prove who makes them, as every host of ours does, beside those of [`call`], which a
/// peer makes that proves nothing.
const fn proven(name: &'static str, of: &'static [&'static str], in_flight: usize) -> Measure {
    Measure {
        name,
        of,
        metered: LATTICE,
        work: Work::Call {
            target: SMALL,
            in_flight,
            size: SIZE,
            proven: true,
        },
    }
}

const fn get(
    name: &'static str,
    of: &'static [&'static str],
    metered: &'static [Process],
    site: Site,
    connections: usize,
) -> Measure {
    Measure {
        name,
        of,
        metered,
        work: Work::Get { site, connections },
    }
}

const fn repeat(name: &'static str, times: u32, size: u32) -> Measure {
    Measure {
        name,
        of: &[BARE],
        metered: LATTICE,
        work: Work::Repeat { times, size },
    }
}

/// What most others are compared with.
const BARE: &str = "bus_request_reply";

/// The order in which they run and are written down; each follows what it is compared with.
pub(crate) const MEASURES: &[Measure] = &[
    bus(BARE, 64, SIZE),
    call("component_call", &[BARE], SMALL, 64, SIZE),
    proven("component_call_proven", &["component_call"], 64),
    call("component_call_large", &[BARE], LARGE, 64, SIZE),
    bus("bus_1", 1, SIZE),
    call("component_call_1", &["bus_1"], SMALL, 1, SIZE),
    proven("component_call_proven_1", &["component_call_1"], 1),
    bus("bus_16", 16, SIZE),
    call("component_call_16", &["bus_16"], SMALL, 16, SIZE),
    proven("component_call_proven_16", &["component_call_16"], 16),
    bus("bus_64", 64, SIZE),
    call("component_call_64", &["bus_64"], SMALL, 64, SIZE),
    bus("bus_64k", LARGE_IN_FLIGHT, LARGE_SIZE),
    call(
        "list_64k_bus",
        &["bus_64k"],
        SMALL,
        LARGE_IN_FLIGHT,
        LARGE_SIZE,
    ),
    repeat("list_64k_local", 100, LARGE_SIZE as u32),
    repeat("component_to_component", 1000, SIZE as u32),
    get("hyper_hello", &[BARE], &[Process::Hyper], Site::Hyper, 32),
    get(
        "wasmtime_serve",
        &["hyper_hello"],
        &[Process::Wasmtime],
        Site::Wasmtime,
        32,
    ),
    get(
        "wasmtime_serve_8",
        &["hyper_hello"],
        &[Process::Wasmtime],
        Site::Wasmtime,
        8,
    ),
    get(
        "http_component_local",
        &["wasmtime_serve", "hyper_hello"],
        LATTICE,
        Site::HelloInside,
        32,
    ),
    get(
        "http_component_local_8",
        &["wasmtime_serve_8", "http_component_local"],
        LATTICE,
        Site::HelloInside,
        8,
    ),
    get(
        "http_component_reuse",
        &["http_component_local"],
        LATTICE,
        Site::HelloReused,
        32,
    ),
    get(
        "http_counter_local",
        &["http_component_local"],
        LATTICE,
        Site::CounterInside,
        32,
    ),
    get(
        "tracing_off",
        &["http_component_local"],
        UNTRACED,
        Site::Untraced,
        32,
    ),
    get(
        "tracing_sampled",
        &["tracing_off"],
        TRACED,
        Site::Traced,
        32,
    ),
    get("http_component_bus", &[BARE], HTTP, Site::Hello, 32),
    get(
        "http_component_socket",
        &[BARE],
        HTTP,
        Site::HelloSocket,
        32,
    ),
    get("http_counter_bus", &[BARE], COUNTER, Site::Counter, 32),
];

/// Those that `wanted` chooses by name, and what they are compared with, and that with, as far as
/// it can run.
pub(crate) fn chosen(
    wanted: impl Fn(&str) -> bool,
    can_run: impl Fn(&Measure) -> bool,
) -> Vec<&'static Measure> {
    let runnable: Vec<_> = MEASURES.iter().filter(|m| can_run(m)).collect();
    let mut names: Vec<_> = runnable.iter().map(|m| m.name).collect();
    names.retain(|name| wanted(name));
    // Each follows what it is compared with, so that from behind all bases are met.
    for measure in runnable.iter().rev() {
        let known = |name: &&&str| runnable.iter().any(|m| m.name == **name);
        let base = measure.of.iter().find(known);
        if names.contains(&measure.name) {
            names.extend(base);
        }
    }
    runnable
        .into_iter()
        .filter(|measure| names.contains(&measure.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &str, can_run: impl Fn(&Measure) -> bool) -> Vec<&'static str> {
        let chosen = chosen(|name| name == wanted, can_run);
        chosen.iter().map(|measure| measure.name).collect()
    }

    #[test]
    fn each_measure_follows_what_it_is_compared_with() {
        for (index, measure) in MEASURES.iter().enumerate() {
            for of in measure.of {
                let before = MEASURES[..index].iter().any(|other| other.name == *of);
                assert!(before, "{} before {of}", measure.name);
            }
        }
    }

    #[test]
    fn names_are_there_once() {
        for measure in MEASURES {
            let same = MEASURES.iter().filter(|other| other.name == measure.name);
            assert_eq!(same.count(), 1, "{}", measure.name);
        }
    }

    #[test]
    fn chosen_measure_brings_what_it_is_compared_with() {
        let all = |_: &Measure| true;
        assert_eq!(names("bus_16", all), ["bus_16"]);
        assert_eq!(
            names("component_call_proven_16", all),
            ["bus_16", "component_call_16", "component_call_proven_16"]
        );
        assert_eq!(
            names("component_call_16", all),
            ["bus_16", "component_call_16"]
        );
    }

    #[test]
    fn what_cannot_run_is_replaced_by_the_next() {
        let without = |measure: &Measure| !measure.metered.contains(&Process::Wasmtime);
        assert_eq!(
            names("http_component_local", without),
            ["bus_request_reply", "hyper_hello", "http_component_local"]
        );
    }
}
