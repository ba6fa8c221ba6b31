//! The roads that calls take, counted by link.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::StringMap;

/// How a call reaches whoever serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Road {
    /// It stays in the process of the caller.
    Process,
    /// Over a socket to another process of the machine.
    Socket,
    /// Over NATS.
    Bus,
}

impl Road {
    /// All of them, the nearest first.
    pub const ALL: [Self; 3] = [Self::Process, Self::Socket, Self::Bus];

    /// The name in reports and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Socket => "socket",
            Self::Bus => "bus",
        }
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a call took the road that it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Why {
    /// It is the nearest that serves the function.
    Nearest,
    /// The link shares its calls among all servers.
    Spread,
    /// Nobody nearer serves the function.
    NoServerHere,
    /// Somebody nearer serves it, but has no room for another call.
    NoRoomHere,
    /// There is no connection by a nearer road.
    NotConnected,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Nearest,
        Self::Spread,
        Self::NoServerHere,
        Self::NoRoomHere,
        Self::NotConnected,
    ];

    /// The name in reports and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Spread => "spread",
            Self::NoServerHere => "no-server-here",
            Self::NoRoomHere => "no-room-here",
            Self::NotConnected => "not-connected",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Counts the calls of one link by the road they took. It is told of every call, so it only adds
/// up; whoever asks gets a [`RoadTally`].
#[derive(Debug, Default)]
pub struct RoadCounts {
    /// By road, in the order of [`Road::ALL`].
    roads: [Counted; Road::ALL.len()],
    /// The road of the last call, counted from 1; 0 before the first.
    last: AtomicU8,
}

#[derive(Debug, Default)]
struct Counted {
    calls: AtomicU64,
    /// Why the last one took this road, counted from 1; 0 before the first.
    why: AtomicU8,
}

impl RoadCounts {
    /// Counts one call.
    pub fn count(&self, road: Road, why: Why) {
        let counted = &self.roads[road as usize];
        counted.calls.fetch_add(1, Relaxed);
        counted.why.store(why as u8 + 1, Relaxed);
        self.last.store(road as u8 + 1, Relaxed);
    }

    /// Forgets what was counted. A call that is under way may still be taken back, which then counts as one
    /// too few.
    pub fn begin_anew(&self) {
        self.last.store(0, Relaxed);
        for counted in &self.roads {
            counted.calls.store(0, Relaxed);
            counted.why.store(0, Relaxed);
        }
    }

    /// Takes back that a call was counted which could not take that road after all. The last road
    /// stays what it was until the next call is counted.
    pub fn take_back(&self, road: Road) {
        self.roads[road as usize].calls.fetch_sub(1, Relaxed);
    }

    /// The road of the last call, and why. Of use where one call is counted alone: others may come
    /// in between.
    #[must_use]
    pub fn last(&self) -> Option<(Road, Why)> {
        let road = *from_one(&Road::ALL, self.last.load(Relaxed))?;
        let why = from_one(&Why::ALL, self.roads[road as usize].why.load(Relaxed))?;
        Some((road, *why))
    }

    /// What was counted so far. Calls that are counted meanwhile may show in part of it only.
    #[must_use]
    pub fn report(&self) -> RoadTally {
        let calls = |road: Road| {
            let calls = self.roads[road as usize].calls.load(Relaxed);
            // One may be taken back a moment before it is counted.
            if calls > u64::MAX / 2 { 0 } else { calls }
        };
        let named = |road: Road| {
            let why = from_one(&Why::ALL, self.roads[road as usize].why.load(Relaxed))?;
            Some((road.as_str().to_owned(), why.as_str().to_owned()))
        };
        RoadTally {
            process: calls(Road::Process),
            socket: calls(Road::Socket),
            bus: calls(Road::Bus),
            last: from_one(&Road::ALL, self.last.load(Relaxed)).map(Road::to_string),
            why: Road::ALL.into_iter().filter_map(named).collect(),
        }
    }
}

fn from_one<T>(all: &[T], number: u8) -> Option<&T> {
    all.get(usize::from(number).checked_sub(1)?)
}

/// How many calls took which road, and why.
///
/// Roads and reasons are plain text, since hosts of other versions may know others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoadTally {
    /// Calls that stayed in the process of the caller.
    #[serde(default)]
    pub process: u64,
    /// Calls over a socket of the machine.
    #[serde(default)]
    pub socket: u64,
    /// Calls over NATS.
    #[serde(default)]
    pub bus: u64,
    /// The road of the last call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// By road, why the last call on it took it.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    pub why: StringMap,
}

impl RoadTally {
    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        let roads = [self.process, self.socket, self.bus];
        roads.into_iter().fold(0, u64::saturating_add)
    }

    /// Whether no call was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls() == 0
    }

    /// How many calls took one road.
    #[must_use]
    pub fn on(&self, road: Road) -> u64 {
        match road {
            Road::Process => self.process,
            Road::Socket => self.socket,
            Road::Bus => self.bus,
        }
    }

    /// Adds what another process counted for the same link. Two of them have a last road only
    /// when it is the same, as nobody knows whose call was the later one; reasons that differ are
    /// all kept.
    pub fn add(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        self.process = self.process.saturating_add(other.process);
        self.socket = self.socket.saturating_add(other.socket);
        self.bus = self.bus.saturating_add(other.bus);
        if self.last != other.last {
            self.last = None;
        }
        for (road, reasons) in &other.why {
            let known = self.why.entry(road.clone()).or_default();
            for reason in reasons.split(", ") {
                if known.is_empty() {
                    reason.clone_into(known);
                } else if known.split(", ").all(|known| known != reason) {
                    known.push_str(", ");
                    known.push_str(reason);
                }
            }
        }
    }
}

impl fmt::Display for RoadTally {
    /// Such as `process 120, bus 3 (no-room-here)`. That a road is the nearest goes without saying.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = Road::ALL.into_iter().filter(|road| self.on(*road) > 0);
        for (place, road) in taken.enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{road} {}", self.on(road))?;
            match self.why.get(road.as_str()) {
                Some(why) if why != Why::Nearest.as_str() => write!(f, " ({why})")?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The roads that the calls of one link took from one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoadReport {
    /// The source of the link.
    pub source_id: String,
    /// The target of the link.
    pub target: String,
    /// The namespace of the WIT package.
    pub wit_namespace: String,
    /// The WIT package without its version.
    pub wit_package: String,
    /// The link name.
    pub name: String,
    /// What was counted.
    #[serde(flatten)]
    pub roads: RoadTally,
}

impl RoadReport {
    /// Whether it is about this link.
    #[must_use]
    pub fn is_about(&self, link: &crate::Link) -> bool {
        self.source_id == link.source_id
            && self.target == link.target
            && self.wit_namespace == link.wit_namespace
            && self.wit_package == link.wit_package
            && self.name == link.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_roads_and_reasons_are_their_places() {
        for (place, road) in Road::ALL.into_iter().enumerate() {
            assert_eq!(road as usize, place);
            assert_eq!(serde_json::to_value(road).unwrap(), road.as_str());
        }
        for (place, why) in Why::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
            assert_eq!(serde_json::to_value(why).unwrap(), why.as_str());
        }
    }

    #[test]
    fn what_was_counted_is_forgotten_when_it_begins_anew() {
        let counts = RoadCounts::default();
        counts.count(Road::Bus, Why::Spread);
        counts.begin_anew();
        assert_eq!(counts.report(), RoadTally::default());
        assert_eq!(counts.last(), None);
    }

    #[test]
    fn each_road_keeps_its_own_reason() {
        let counts = RoadCounts::default();
        assert_eq!(
            (counts.report(), counts.last()),
            (RoadTally::default(), None)
        );
        counts.count(Road::Process, Why::Nearest);
        counts.count(Road::Bus, Why::NoRoomHere);
        counts.count(Road::Process, Why::Nearest);
        assert_eq!(counts.last(), Some((Road::Process, Why::Nearest)));
        let tally = counts.report();
        assert_eq!((tally.process, tally.socket, tally.bus), (2, 0, 1));
        assert_eq!(tally.last.as_deref(), Some("process"));
        assert_eq!(tally.to_string(), "process 2, bus 1 (no-room-here)");
        let json = serde_json::json!({
            "process": 2, "socket": 0, "bus": 1, "last": "process",
            "why": {"process": "nearest", "bus": "no-room-here"},
        });
        assert_eq!(serde_json::to_value(&tally).unwrap(), json);
        counts.take_back(Road::Process);
        assert_eq!(counts.report().process, 1);
    }

    #[test]
    fn tallies_of_several_processes_add_up() {
        let one = |road, why| {
            let counts = RoadCounts::default();
            counts.count(road, why);
            counts.report()
        };
        let mut sum = RoadTally::default();
        sum.add(&one(Road::Bus, Why::NoServerHere));
        sum.add(&RoadTally::default());
        assert_eq!(sum, one(Road::Bus, Why::NoServerHere));
        sum.add(&one(Road::Bus, Why::Spread));
        sum.add(&one(Road::Bus, Why::Spread));
        sum.add(&one(Road::Socket, Why::Nearest));
        assert_eq!(sum.to_string(), "socket 1, bus 3 (no-server-here, spread)");
        assert_eq!(sum.last, None);
        assert_eq!(RoadTally::default().to_string(), "");
    }

    #[test]
    fn reports_of_newer_hosts_are_read() {
        let text = r#"{"source_id":"a","target":"b","wit_namespace":"wasi","wit_package":"http",
            "name":"default","process":1,"pipe":2,"last":"pipe","why":{"pipe":"new"}}"#;
        let report: RoadReport = serde_json::from_str(text).unwrap();
        assert_eq!(report.roads.calls(), 1);
        assert_eq!(report.roads.last.as_deref(), Some("pipe"));
    }
}
