//! What a dead letter is called and looks like.

use super::backend::{Message, QueueError};

/// What follows the name of a queue in that of its dead-letter queue.
const SUFFIX: &str = "-dead";

/// The attribute that says why a message is a dead letter.
pub const DEAD_LETTER_REASON: &str = "dead-letter-reason";
/// The attribute that names the queue it comes from.
pub const DEAD_LETTER_QUEUE: &str = "dead-letter-queue";
/// The attribute that says how often it was delivered there.
pub const DEAD_LETTER_ATTEMPTS: &str = "dead-letter-attempts";
/// The attribute that says how many bytes the body had, in a dead letter that goes without it.
pub const DEAD_LETTER_SIZE: &str = "dead-letter-size";

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
    // One that has died without its body before still tells its size.
    if !message.body.is_empty() {
        attributes.retain(|(name, _)| name != DEAD_LETTER_SIZE);
    }
    let values = [shortened(reason), queue.to_owned(), attempts.to_string()];
    let told = told.map(str::to_owned);
    attributes.extend(told.into_iter().zip(values));
    message.group = None;
    message.dedup_id = None;
    message
}

impl Message {
    /// How many bytes it has, without its ids: more than the body, since backends count the rest too.
    #[must_use]
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, value)| name.len() + value.len());
        let content_type = self.content_type.as_ref().map_or(0, String::len);
        self.body.len() + content_type + attributes.sum::<usize>()
    }
}

/// A smaller dead letter in place of one that was refused with `error`: without its body, whose
/// [`DEAD_LETTER_SIZE`] it tells, or without all else of its message, whichever is larger, and then
/// without both. One that is refused whenever it is sent would leave its message where it is for ever.
///
/// `left_out` gets what the letter goes without, and why. That is for the log once a letter was taken:
/// until then nothing is lost.
///
/// # Errors
///
/// `error`, when it is not about the letter, or the letter cannot be smaller.
pub fn smaller_dead_letter(
    mut letter: Message,
    error: QueueError,
    left_out: &mut Vec<String>,
) -> Result<Message, QueueError> {
    let is_about_it = matches!(error, QueueError::TooLarge(_) | QueueError::Invalid(_));
    if !is_about_it || is_bare(&letter) {
        return Err(error);
    }
    let why = error.text();
    let stripped = stripped_dead_letter(letter.clone());
    let rest = letter.size() - stripped.size();
    if letter.body.is_empty() || rest > letter.body.len() {
        left_out.push(format!("attributes: {why}"));
        return Ok(stripped);
    }
    left_out.push(format!("body: {why}"));
    let size = std::mem::take(&mut letter.body).len().to_string();
    letter.attributes.push((DEAD_LETTER_SIZE.to_owned(), size));
    Ok(letter)
}

/// A dead letter without what its message had besides the body.
#[must_use]
pub fn stripped_dead_letter(mut letter: Message) -> Message {
    letter.content_type = None;
    letter.attributes.retain(|(name, _)| is_told(name));
    letter
}

fn is_bare(letter: &Message) -> bool {
    let mut names = letter.attributes.iter().map(|(name, _)| name);
    letter.body.is_empty() && letter.content_type.is_none() && names.all(|name| is_told(name))
}

/// Whether an attribute is one of a dead letter.
fn is_told(name: &str) -> bool {
    let told = [
        DEAD_LETTER_REASON,
        DEAD_LETTER_QUEUE,
        DEAD_LETTER_ATTEMPTS,
        DEAD_LETTER_SIZE,
    ];
    told.contains(&name)
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
    fn a_letter_that_is_refused_goes_without_its_body_and_then_without_all_else() {
        let message = Message {
            body: "x".repeat(50).into(),
            content_type: Some("text/plain".into()),
            attributes: [("a", "1"), (DEAD_LETTER_SIZE, "7")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            dedup_id: None,
            group: None,
        };
        let whole = dead_letter(message, "jobs", 2, "no");
        let away = QueueError::unavailable("away");
        let mut left_out = Vec::new();
        let kept = smaller_dead_letter(whole.clone(), away.clone(), &mut left_out);
        assert_eq!(kept, Err(away));
        assert!(left_out.is_empty());
        let names = |letter: &Message| {
            let names = letter.attributes.iter().map(|(name, _)| name.clone());
            names.collect::<Vec<_>>()
        };
        let told = [
            DEAD_LETTER_REASON,
            DEAD_LETTER_QUEUE,
            DEAD_LETTER_ATTEMPTS,
            DEAD_LETTER_SIZE,
        ];
        assert_eq!(names(&whole), ["a", told[0], told[1], told[2]]);
        let large = || QueueError::TooLarge(4);
        let second = smaller_dead_letter(whole, large(), &mut left_out).unwrap();
        assert!(second.body.is_empty() && second.content_type.is_some());
        let size = (DEAD_LETTER_SIZE.to_owned(), "50".to_owned());
        assert_eq!(second.attributes.last(), Some(&size));
        // Also after another death.
        let again = dead_letter(second, "jobs-dead", 1, "no");
        assert!(again.attributes.contains(&size));
        let last = smaller_dead_letter(again, QueueError::invalid("no"), &mut left_out).unwrap();
        assert_eq!(last.content_type, None);
        assert!(names(&last).iter().all(|name| told.contains(&&**name)));
        let refused = smaller_dead_letter(last, large(), &mut left_out);
        assert_eq!(refused, Err(large()));
        let told = "body: the message is larger than 4 bytes, attributes: no";
        assert_eq!(left_out.join(", "), told);
    }

    #[test]
    fn a_letter_keeps_its_body_where_its_attributes_are_larger() {
        let message = Message {
            body: "12345".into(),
            content_type: Some("a/b".into()),
            attributes: vec![("a".into(), "1".repeat(1000))],
            dedup_id: None,
            group: None,
        };
        assert_eq!(message.size(), 5 + 3 + 1001);
        // However long the reason is, which stays.
        let whole = dead_letter(message, "jobs", 2, &"no ".repeat(300));
        let (large, mut left_out) = (|| QueueError::TooLarge(4), Vec::new());
        let second = smaller_dead_letter(whole, large(), &mut left_out).unwrap();
        assert_eq!(second.body, "12345");
        assert_eq!(second.content_type, None);
        assert!(second.attributes.iter().all(|(name, _)| is_told(name)));
        let last = smaller_dead_letter(second, large(), &mut left_out).unwrap();
        assert!(last.body.is_empty());
        let size = (DEAD_LETTER_SIZE.to_owned(), "5".to_owned());
        assert_eq!(last.attributes.last(), Some(&size));
        assert_eq!(left_out.len(), 2);
        let refused = smaller_dead_letter(last, large(), &mut left_out);
        assert_eq!(refused, Err(large()));
    }

    #[test]
    fn a_letter_of_nothing_but_names_becomes_smaller_once() {
        let message = Message {
            body: "".into(),
            content_type: Some(String::new()),
            attributes: vec![(String::new(), String::new())],
            dedup_id: None,
            group: None,
        };
        let whole = dead_letter(message, "jobs", 2, "no");
        let (large, mut left_out) = (|| QueueError::TooLarge(4), Vec::new());
        let last = smaller_dead_letter(whole, large(), &mut left_out).unwrap();
        let refused = smaller_dead_letter(last, large(), &mut left_out);
        assert_eq!(refused, Err(large()));
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
