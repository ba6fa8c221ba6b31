//! Lines of the log of a NATS server. Most of what stands in them comes from clients.

use lattice_core::event::BusRefused;
use lattice_core::text::clipped_bytes;

/// How many bytes of a name are told: clients choose them, and may make them as long as a line of the server.
const SHOWN: usize = 256;

/// What a line of the log says of a refusal, if it is about one.
///
/// `… - "ACCOUNT/USER" - Publish Violation - Subject "a.b"`, before nats-server 2.11
/// `… - Publish Violation - JWT User "USER", Subject "a.b"`; `Reply` in the place of `Subject` is about the place
/// for answers that a message names. What stands before the last of these marks is partly what a client says
/// of itself, and of that only the end is the server's.
pub(crate) fn read(line: &str) -> Option<BusRefused> {
    const MARKS: [(&str, &str); 2] = [
        (" - Publish Violation - ", "publish"),
        (" - Subscription Violation - ", "subscribe"),
    ];
    let found = MARKS.iter().filter_map(|(mark, action)| {
        let at = line.rfind(mark)?;
        Some((&line[..at], &line[at + mark.len()..], *action))
    });
    let (before, after, action) = found.max_by_key(|(before, ..)| before.len())?;
    let mut named = ["Subject ", "Reply "].iter();
    let (user, subject) = match named.find_map(|name| after.strip_prefix(name)) {
        Some(subject) => (last_quoted(before), subject),
        None => {
            let parts = [", Subject ", ", Reply "].map(|mark| after.split_once(mark));
            let (user, subject) = parts.into_iter().flatten().next()?;
            (last_quoted(user), subject)
        }
    };
    let some = |text: &str| clipped_bytes(text, SHOWN).to_owned();
    Some(BusRefused {
        user: user.map(some),
        action: action.to_owned(),
        subject: some(quoted_alone(subject)?),
        ..BusRefused::default()
    })
}

/// What stands in quotes at the beginning of a text, where nothing follows but what the server adds for a
/// subscription. Words of a client that stand within other quotes have escapes before theirs, or go on.
fn quoted_alone(text: &str) -> Option<&str> {
    let text = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = text.char_indices().find(|(_, c)| {
        let is_end = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        is_end
    });
    let (quoted, rest) = text.split_at(end?.0);
    let rest = &rest[1..];
    let is_alone = rest.is_empty() || rest.starts_with(", Queue: \"") || rest.starts_with(", SID ");
    is_alone.then_some(quoted)
}

/// What stands in quotes at the end of a text.
fn last_quoted(text: &str) -> Option<&str> {
    text.strip_suffix('"')?.rsplit('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str =
        r#"[7] 2026/11/28 23:17:00.293161 [ERR] 127.0.0.1:36352 - cid:5 - "v1.0:rust:evil""#;

    #[test]
    fn a_refusal_is_read_from_its_line() {
        let told = |rest: &str| {
            let refused = read(&format!("{START}{rest}"))?;
            Some((refused.user, refused.action, refused.subject))
        };
        let all = |user: &str, action: &str, subject: &str| {
            Some((Some(user.to_owned()), action.to_owned(), subject.to_owned()))
        };
        let publish = r#" - "$G/user:a" - Publish Violation - Subject "no.way""#;
        assert_eq!(told(publish), all("$G/user:a", "publish", "no.way"));
        let queue = r#" - "$G/user:a" - Subscription Violation - Subject "o.>", Queue: "q", SID 2"#;
        assert_eq!(told(queue), all("$G/user:a", "subscribe", "o.>"));
        assert_eq!(told(" - Client connection closed"), None);
        let older = r#" - Publish Violation - JWT User "UA7", Subject "x.y""#;
        assert_eq!(told(older), all("UA7", "publish", "x.y"));
        let reply = r#" - "$G/user:a" - Publish Violation - Reply "_R_.x""#;
        assert_eq!(told(reply), all("$G/user:a", "publish", "_R_.x"));
        let older = r#" - Publish Violation - JWT User "UA7", Reply "_R_.x""#;
        assert_eq!(told(older), all("UA7", "publish", "_R_.x"));
        let long = format!(
            r#" - "a" - Publish Violation - Subject "{}""#,
            "s".repeat(20_000)
        );
        assert_eq!(told(&long), all("a", "publish", &"s".repeat(SHOWN)));
        let wide = format!(
            r#" - "a" - Publish Violation - Subject "{}""#,
            "ß".repeat(20_000)
        );
        assert_eq!(told(&wide), all("a", "publish", &"ß".repeat(SHOWN / 2)));
    }

    #[test]
    fn what_a_client_calls_itself_is_not_believed() {
        let name = r#" - "A/other" - Publish Violation - Subject "forged""#;
        let line = format!(r#"{START}{name}" - "A/me" - Publish Violation - Subject "true""#);
        let refused = read(&line).unwrap();
        assert_eq!(refused.user.as_deref(), Some("A/me"));
        assert_eq!(refused.subject, "true");
    }

    #[test]
    fn words_of_a_client_in_another_line_are_no_refusal() {
        let forged = r#" - \"A/victim\" - Publish Violation - Subject \"forged""#;
        let login = format!(r#"{START} - authentication error - User "x{forged}"#);
        assert_eq!(read(&login), None);
        let raw = r#" - "A/victim" - Publish Violation - Subject "forged"#;
        let closed = format!(r#"{START}{raw}" - Client connection closed: Client Closed"#);
        assert_eq!(read(&closed), None);
    }
}
