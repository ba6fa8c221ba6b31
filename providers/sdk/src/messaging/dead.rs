//! What is told of a message that could not be delivered.

use std::borrow::Cow;

/// How much of a cause goes with a message.
const LONGEST_VALUE: usize = 1024;

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
        let own = [
            Self::CAUSE,
            Self::SUBJECT,
            Self::ATTEMPTS,
            Self::COMPONENT,
            Self::REPLY_TO,
            Self::SIZE,
        ];
        if is_reserved || own.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Cow::Owned(format!("{}{name}", Self::ORIGINAL));
        }
        Cow::Borrowed(name)
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

fn line(text: &str) -> String {
    let no_control = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().map(no_control).collect();
    if line.len() > LONGEST_VALUE {
        line.truncate(line.floor_char_boundary(LONGEST_VALUE));
    }
    line.trim().to_owned()
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
