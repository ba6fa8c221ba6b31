//! What is told of a message that could not be delivered.

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
}
