//! How much a client may send, and how slowly.

use std::time::Duration;

use super::values::InvalidSetting;

/// One day in milliseconds, as the longest time.
const DAY: u64 = 86_400_000;

/// Limits of a connection, before it is known whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How large the head of a request may be; a larger one is answered with 431.
    pub header_bytes: usize,
    /// How long the head of a request may take from its first byte on, else 408.
    pub header_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// How many requests one HTTP/2 connection may have open.
    pub streams: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            header_bytes: 64 * 1024,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            streams: 256,
        }
    }
}

/// What [`ConnectionLimits`] are read from.
pub(super) const CONNECTION_KEYS: [&str; 4] = [
    "max_header_bytes",
    "header_timeout_ms",
    "idle_timeout_ms",
    "max_concurrent_streams",
];

impl ConnectionLimits {
    /// Those that are said, and of the others those there are.
    pub(super) fn read(
        self,
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, InvalidSetting> {
        let [bytes, header, idle, streams] = CONNECTION_KEYS;
        let number = |key, lowest, highest, expected| {
            value(key)
                .map(|text| parse(key, &text, lowest, highest, expected))
                .transpose()
        };
        let time = |key| Ok(number(key, 1, DAY, MILLIS)?.map(Duration::from_millis));
        let header_bytes = number(bytes, 8192, 1 << 20, "a number from 8192 to 1048576")?;
        let streams = number(streams, 1, 65_536, "a number from 1 to 65536")?;
        Ok(Self {
            header_bytes: header_bytes.map_or(self.header_bytes, |bytes| bytes as usize),
            header_timeout: time(header)?.unwrap_or(self.header_timeout),
            idle_timeout: time(idle)?.unwrap_or(self.idle_timeout),
            streams: streams.map_or(self.streams, |count| count as u32),
        })
    }
}

/// What is expected of a time.
const MILLIS: &str = "a number of milliseconds from 1 to 86400000";

fn parse(
    key: &str,
    text: &str,
    lowest: u64,
    highest: u64,
    expected: &'static str,
) -> Result<u64, InvalidSetting> {
    let number = text.trim().parse().ok();
    let number = number.filter(|number| (lowest..=highest).contains(number));
    number.ok_or_else(|| InvalidSetting::new(key, text, expected))
}

/// Limits of the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// How large it may be; a larger one is answered with 413.
    pub bytes: u64,
    /// How long the client may pause while it sends it, else 408.
    pub pause: Duration,
}

impl BodyLimits {
    pub(super) fn read(value: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidSetting> {
        let bytes = value("max_body_bytes")
            .map(|text| parse("max_body_bytes", &text, 0, u64::MAX, "a number of bytes"))
            .transpose()?;
        let pause = value("body_timeout_ms")
            .map(|text| parse("body_timeout_ms", &text, 1, DAY, MILLIS))
            .transpose()?;
        Ok(Self {
            bytes: bytes.filter(|bytes| *bytes > 0).unwrap_or(u64::MAX),
            pause: Duration::from_millis(pause.unwrap_or(60_000)),
        })
    }
}
