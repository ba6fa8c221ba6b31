//! What is told of a message that could not be delivered.

use std::borrow::Cow;

use lattice_core::text::clipped_bytes;

use super::{Arriving, Message};

/// How much of a cause goes with a message.
const LONGEST_VALUE: usize = 1024;
/// How often a letter may have been at a place, and come back by way of others, before it is not posted
/// there again.
const ENOUGH_VISITS: usize = 2;

/// Why a message was not delivered. It travels beside the body, as headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// What the last attempt failed of.
    pub cause: String,
    /// Where the message was published.
    pub subject: String,
    /// How many attempts were made.
    pub attempts: u32,
    /// The component that was to have it.
    pub component: String,
    /// Where an answer was to go.
    pub reply_to: Option<String>,
}

impl DeadLetter {
    /// What the last attempt failed of.
    pub const CAUSE: &'static str = "lattice-cause";
    /// Where the message was published.
    pub const SUBJECT: &'static str = "lattice-subject";
    /// How many attempts were made.
    pub const ATTEMPTS: &'static str = "lattice-attempts";
    /// The component that was to have it.
    pub const COMPONENT: &'static str = "lattice-component";
    /// Where an answer was to go.
    pub const REPLY_TO: &'static str = "lattice-reply-to";
    /// How many bytes the body had, in a letter that goes without it: see [`Carried`].
    pub const SIZE: &'static str = "lattice-size";

    /// What is put before the name of a header of the message that means something to the broker,
    /// or would be taken for one of the letter's own.
    pub const ORIGINAL: &'static str = "lattice-original-";

    /// What a letter calls a header of its message, where the broker acts on names that begin with
    /// `reserved`, in any case of letters: on the letter it would do what was meant for the message.
    #[must_use]
    pub fn header_name<'a>(name: &'a str, reserved: &str) -> Cow<'a, str> {
        let begin = name.as_bytes().get(..reserved.len());
        let is_reserved =
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(reserved.as_bytes()));
        if is_reserved || Self::is_own_header(name) {
            return Cow::Owned(format!("{}{name}", Self::ORIGINAL));
        }
        Cow::Borrowed(name)
    }

    /// Whether a letter has a header of that name, in any case of letters, that its message has not.
    #[must_use]
    pub fn is_own_header(name: &str) -> bool {
        let own = [
            Self::CAUSE,
            Self::SUBJECT,
            Self::ATTEMPTS,
            Self::COMPONENT,
            Self::REPLY_TO,
            Self::SIZE,
        ];
        own.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether `arriving` is a letter of the same component already that comes from `to`: posted there
    /// once more it would come again, and for ever. So would one that has been there twice before, as two
    /// links have it that hear the letters of each other. One who reads letters may have letters
    /// elsewhere, and one that was there once may have been published anew where it came from.
    #[must_use]
    pub fn goes_round(&self, arriving: &Arriving, to: &str) -> bool {
        let message = &arriving.message;
        let is_own = told(message, Self::COMPONENT).any(|component| component == self.component);
        if !is_own {
            return false;
        }
        let visits = told(message, Self::SUBJECT).filter(|place| is_at(place, to));
        let is_round = is_at(&message.subject, to) || visits.count() >= ENOUGH_VISITS;
        if is_round {
            let (subject, cause) = (&*self.subject, &*self.cause);
            tracing::error!(
                subject,
                to,
                cause,
                "lost a dead letter, which would come again"
            );
        }
        is_round
    }

    /// The headers, with values that every broker takes: one line each, and not too long.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (Self::CAUSE, line(&self.cause)),
            (Self::SUBJECT, line(&self.subject)),
            (Self::ATTEMPTS, self.attempts.to_string()),
            (Self::COMPONENT, line(&self.component)),
        ];
        if let Some(reply_to) = &self.reply_to {
            headers.push((Self::REPLY_TO, line(reply_to)));
        }
        headers
    }
}

/// How much of its message a letter carries. A message that was just small enough for the broker is
/// too large with the headers of a letter, and would be refused as often as it is posted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// The whole message.
    #[default]
    All,
    /// Its headers; the letter tells the [`DeadLetter::SIZE`] of the body.
    Headers,
    /// Nothing of it.
    Nothing,
}

impl Carried {
    /// Whether the letter has the message's body.
    #[must_use]
    pub fn has_body(self) -> bool {
        self == Self::All
    }

    /// Whether the letter has the message's headers.
    #[must_use]
    pub fn has_headers(self) -> bool {
        self != Self::Nothing
    }

    /// What a letter carries that was too large with this; `None` when it cannot be smaller. Tells
    /// the log, for the rest is lost.
    #[must_use]
    pub fn less(self, letter: &DeadLetter, error: &dyn std::fmt::Display) -> Option<Self> {
        let (subject, cause) = (&*letter.subject, &*letter.cause);
        let (less, what) = match self {
            Self::All => (Some(Self::Headers), "the message's body"),
            Self::Headers => (Some(Self::Nothing), "the message's headers"),
            Self::Nothing => (None, "the letter itself"),
        };
        tracing::error!(subject, cause, %error, "a dead letter is too large: lost {what}");
        less
    }
}

/// What the letters say in a header of which a message is the last.
fn told<'a>(message: &'a Message, header: &'a str) -> impl Iterator<Item = &'a str> {
    let is_header = move |name: &str| {
        let begin = name.get(..DeadLetter::ORIGINAL.len());
        let is_original = begin.is_some_and(|b| b.eq_ignore_ascii_case(DeadLetter::ORIGINAL));
        let name = if is_original {
            &name[DeadLetter::ORIGINAL.len()..]
        } else {
            name
        };
        name.eq_ignore_ascii_case(header)
    };
    let pairs = message.metadata.iter();
    let pairs = pairs.filter(move |(name, _)| is_header(name));
    pairs.map(|(_, value)| &**value)
}

/// Whether a subject is that place: what follows after a `#` is a key.
fn is_at(subject: &str, place: &str) -> bool {
    let rest = subject.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

/// Whether a character is one over which brokers may hang up: what is no character at all counts too.
fn is_odd(c: char) -> bool {
    let code = u32::from(c);
    c.is_control() || code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
}

fn line(text: &str) -> String {
    let plain = |c: char| if is_odd(c) { ' ' } else { c };
    let line: String = text.chars().map(plain).collect();
    clipped_bytes(&line, LONGEST_VALUE).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_one_line_of_bounded_length() {
        let letter = DeadLetter {
            cause: format!("wasm trap\n{}", "ü".repeat(2000)),
            subject: "a.b".into(),
            attempts: 3,
            component: "cart".into(),
            reply_to: None,
        };
        let headers = letter.headers();
        let (name, cause) = &headers[0];
        assert_eq!(*name, "lattice-cause");
        assert!(cause.starts_with("wasm trap ü") && cause.len() <= LONGEST_VALUE);
        assert_eq!(headers[2], ("lattice-attempts", "3".to_owned()));
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn a_cause_has_nothing_over_which_brokers_hang_up() {
        assert_eq!(line("a\u{ffff}b\u{fdd0}c\u{1fffe}\u{7f}ü"), "a b c  ü");
    }

    fn letter_of(component: &str, subject: &str) -> DeadLetter {
        DeadLetter {
            cause: "out of stock".into(),
            subject: subject.into(),
            attempts: 1,
            component: component.into(),
            reply_to: None,
        }
    }

    fn came(subject: &str, metadata: &[(&str, &str)]) -> Arriving {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let metadata = metadata.iter().map(pair).collect();
        Arriving::from(Message {
            metadata,
            ..Message::new(subject, "")
        })
    }

    #[test]
    fn a_letter_is_not_posted_where_it_has_been() {
        let first = [("lattice-component", "cart"), ("lattice-subject", "orders")];
        let round = |subject, metadata: &[_], to| {
            let arriving = came(subject, metadata);
            letter_of("cart", subject).goes_round(&arriving, to)
        };
        assert!(round("dead/cart", &first, "dead/cart"));
        assert!(round("dead#key", &first, "dead"));
        // Letters of letters, of messages, and of others.
        assert!(!round("orders.dead", &first, "orders.dead.dead"));
        assert!(!round("dead/cart", &[], "dead/cart"));
        let others = [("lattice-component", "till"), ("lattice-subject", "orders")];
        assert!(!round("dead/cart", &others, "dead/cart"));
    }

    #[test]
    fn a_letter_that_two_links_hear_of_each_other_goes_round_no_more_than_twice() {
        let mut history = vec![
            ("lattice-original-lattice-component", "cart"),
            ("lattice-original-lattice-subject", "orders"),
            ("lattice-component", "till"),
            ("lattice-subject", "dead/cart"),
        ];
        let letter = letter_of("cart", "dead/till");
        assert!(!letter.goes_round(&came("dead/till", &history), "dead/cart"));
        history.push(("lattice-original-lattice-subject", "dead/cart"));
        assert!(letter.goes_round(&came("dead/till", &history), "dead/cart"));
        assert!(!letter.goes_round(&came("dead/till", &history), "elsewhere"));
    }

    #[test]
    fn a_letter_of_a_letter_that_is_published_anew_is_not_lost() {
        let history = [
            ("lattice-original-lattice-component", "cart"),
            ("lattice-original-lattice-subject", "orders"),
            ("lattice-component", "till"),
            ("lattice-subject", "dead/cart"),
        ];
        let letter = letter_of("cart", "orders");
        assert!(!letter.goes_round(&came("orders", &history), "dead/cart"));
    }

    #[test]
    fn what_means_something_to_the_broker_gets_another_name() {
        let name = |name| DeadLetter::header_name(name, "nats-").into_owned();
        assert_eq!(name("traceparent"), "traceparent");
        assert_eq!(name("Nats"), "Nats");
        assert_eq!(name("natsü-x"), "natsü-x");
        assert_eq!(name("Nats-Rollup"), "lattice-original-Nats-Rollup");
        assert_eq!(name("Lattice-Cause"), "lattice-original-Lattice-Cause");
    }

    #[test]
    fn a_letter_that_is_too_large_carries_less_until_there_is_nothing_left() {
        let letter = DeadLetter {
            cause: "out of stock".into(),
            subject: "a.b".into(),
            attempts: 1,
            component: "cart".into(),
            reply_to: None,
        };
        let less = |carried: Carried| carried.less(&letter, &"too large");
        let second = less(Carried::default()).unwrap();
        assert!(!second.has_body() && second.has_headers());
        let last = less(second).unwrap();
        assert!(!last.has_body() && !last.has_headers());
        assert_eq!(less(last), None);
    }
}
