//! What the server tells of a delivery in the subject of its acknowledgement.

/// The parts of such a subject that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    /// How often the message was delivered, this time included.
    pub(crate) delivered: u32,
    /// Its number in the stream.
    pub(crate) sequence: u64,
    /// When it was stored, in milliseconds of Unix time.
    pub(crate) published_ms: u64,
}

impl Ack {
    /// Reads a subject, of nine parts from older servers and with the domain and the account in
    /// front from others.
    pub(crate) fn read(subject: &str) -> Option<Self> {
        let (parts, first) = parts(subject)?;
        let number = |at: usize| parts.get(first + at)?.parse::<u64>().ok();
        Some(Self {
            delivered: u32::try_from(number(0)?).unwrap_or(u32::MAX),
            sequence: number(1)?,
            published_ms: number(3)? / 1_000_000,
        })
    }

    /// The stream and the consumer that a subject names.
    pub(crate) fn of_consumer(subject: &str) -> Option<(&str, &str)> {
        let (parts, first) = parts(subject)?;
        let part = |at: usize| parts.get(at).copied();
        Some((part(first - 2)?, part(first - 1)?))
    }
}

/// The parts of a subject, and which is the first that is a number.
fn parts(subject: &str) -> Option<(Vec<&str>, usize)> {
    let parts: Vec<&str> = subject.split('.').collect();
    let first = match parts.len() {
        9 => 4,
        11.. => 6,
        _ => return None,
    };
    (parts[..2] == ["$JS", "ACK"]).then_some((parts, first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        let expected = Ack {
            delivered: 3,
            sequence: 40,
            published_ms: 1_700_000_000_000,
        };
        let old = "$JS.ACK.stream.consumer.3.40.50.1700000000000000000.7";
        assert_eq!(Ack::read(old), Some(expected));
        let new = "$JS.ACK.hub.acc.stream.consumer.3.40.50.1700000000000000000.7.token";
        assert_eq!(Ack::read(new), Some(expected));
        for subject in [old, new] {
            assert_eq!(Ack::of_consumer(subject), Some(("stream", "consumer")));
        }
        assert_eq!(Ack::read("_INBOX.a"), None);
        assert_eq!(Ack::read("a.b.stream.consumer.3.40.50.1.7"), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading(text in "[$JSACK0-9.a]{0,60}") {
            let _ = Ack::read(&text);
        }
    }
}
