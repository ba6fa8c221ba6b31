//! What a dead letter is called and looks like.

use super::backend::Message;

/// What follows the name of a queue in that of its dead-letter queue.
const SUFFIX: &str = "-dead";

/// The attribute that says why a message is a dead letter.
pub const DEAD_LETTER_REASON: &str = "dead-letter-reason";
/// The attribute that names the queue it comes from.
pub const DEAD_LETTER_QUEUE: &str = "dead-letter-queue";
/// The attribute that says how often it was delivered there.
pub const DEAD_LETTER_ATTEMPTS: &str = "dead-letter-attempts";

/// The longest reason that is kept, in bytes; backends put it into headers.
const LONGEST_REASON: usize = 1024;
/// How long a control character may become there.
const LONGEST_ESCAPE: usize = "\\u0000".len();

/// The dead-letter queue of `queue`, where the backend's settings name no other.
#[must_use]
pub fn dead_name(queue: &str) -> String {
    format!("{queue}{SUFFIX}")
}

/// The queue whose dead-letter queue has this name, if it has the form of one.
pub(crate) fn living_name(queue: &str) -> Option<&str> {
    queue.strip_suffix(SUFFIX)
}

/// What goes to the dead-letter queue in place of `message`: the same with the reason among its
/// attributes. Its group and its dedup id are gone, which mean nothing there.
#[must_use]
pub fn dead_letter(mut message: Message, queue: &str, attempts: u32, reason: &str) -> Message {
    let told = [DEAD_LETTER_REASON, DEAD_LETTER_QUEUE, DEAD_LETTER_ATTEMPTS];
    let attributes = &mut message.attributes;
    attributes.retain(|(name, _)| !told.contains(&name.as_str()));
    let values = [shortened(reason), queue.to_owned(), attempts.to_string()];
    let told = told.map(str::to_owned);
    attributes.extend(told.into_iter().zip(values));
    message.group = None;
    message.dedup_id = None;
    message
}

fn shortened(reason: &str) -> String {
    let mut room = LONGEST_REASON;
    let fits = |char: &char| {
        let size = match char.is_control() {
            true => LONGEST_ESCAPE,
            false => char.len_utf8(),
        };
        let left = room.checked_sub(size);
        room = left.unwrap_or_default();
        left.is_some()
    };
    reason.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_tells_its_last_death_only() {
        let message = Message {
            body: "x".into(),
            content_type: None,
            attributes: vec![("a".into(), "1".into())],
            dedup_id: Some("id".into()),
            group: Some("g".into()),
        };
        let once = dead_letter(message, "jobs", 5, &"ü".repeat(1000));
        let twice = dead_letter(once, "jobs-dead", 1, "again");
        let value = |name: &str| {
            let mut found = twice.attributes.iter().filter(|(known, _)| known == name);
            let value = found.next().map(|(_, value)| value.as_str());
            assert!(found.next().is_none());
            value
        };
        assert_eq!(value("a"), Some("1"));
        assert_eq!(value(DEAD_LETTER_REASON), Some("again"));
        assert_eq!(value(DEAD_LETTER_QUEUE), Some("jobs-dead"));
        assert_eq!(value(DEAD_LETTER_ATTEMPTS), Some("1"));
        assert_eq!((twice.group, twice.dedup_id), (None, None));
    }

    #[test]
    fn a_reason_has_a_bound() {
        assert_eq!(shortened("why\n"), "why\n");
        assert_eq!(shortened(&"a".repeat(2000)).len(), 1024);
        assert_eq!(shortened(&format!("a{}", "ü".repeat(2000))).len(), 1023);
        assert_eq!(shortened(&"\u{1}".repeat(2000)).len(), 170);
    }

    #[test]
    fn the_names_belong_together() {
        assert_eq!(living_name(&dead_name("jobs")), Some("jobs"));
        assert_eq!(living_name("jobs"), None);
    }
}
