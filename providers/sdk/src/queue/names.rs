//! Which queue a component means.

use std::collections::BTreeSet;

use super::backend::QueueError;
use super::dead::living_name;
use crate::link::ProviderLink;
use crate::settings::{InvalidSetting, Settings};

/// How long the name of a queue may be, in bytes. Backends may allow less.
const LONGEST: usize = 200;

/// The queue behind the link's own names, where its config names none.
const DEFAULT: &str = "default";

/// The names that a link lets its component use.
#[derive(Debug)]
pub(crate) struct Names {
    link: String,
    own: String,
    prefix: String,
    /// `None` when any may be used.
    allowed: Option<BTreeSet<String>>,
}

impl Names {
    pub(crate) fn read(settings: &Settings, link: &ProviderLink) -> Result<Self, InvalidSetting> {
        let expected = "letters, digits, `-`, `_` and `.`";
        let name = |text: &str| is_name(text).then(|| text.to_owned());
        let own = settings.read("queue", expected, name)?;
        let prefix = settings.read("prefix", expected, name)?;
        let allowed: BTreeSet<_> = settings
            .list("queues")
            .into_iter()
            .map(str::to_owned)
            .collect();
        Ok(Self {
            link: link.name.to_string(),
            own: own.unwrap_or_else(|| DEFAULT.to_owned()),
            prefix: prefix.unwrap_or_default(),
            allowed: settings.text("queues").map(|_| allowed),
        })
    }

    /// The queue that the link configures.
    pub(crate) fn own(&self) -> &str {
        &self.own
    }

    /// The queue of the backend that the component calls `queue`.
    pub(crate) fn resolve(&self, queue: &str) -> Result<String, QueueError> {
        if self.is_own(queue) {
            return Ok(self.own.clone());
        }
        // The dead letters of the own queue are its component's too.
        if living_name(queue).is_some_and(|living| living == self.own || self.is_own(living)) {
            return Ok(super::dead_name(&self.own));
        }
        if queue == self.own && self.prefix.is_empty() {
            return Ok(self.own.clone());
        }
        let name = format!("{}{queue}", self.prefix);
        if !is_name(&name) {
            return Err(QueueError::invalid(format!(
                "`{}` cannot be the name of a queue: it has to be of at most {LONGEST} letters, digits, `-`, `_` and `.`",
                queue.escape_debug()
            )));
        }
        match &self.allowed {
            Some(allowed) if !is_among(queue, allowed) => Err(QueueError::AccessDenied),
            _ => Ok(name),
        }
    }

    fn is_own(&self, queue: &str) -> bool {
        queue.is_empty() || queue == DEFAULT || queue == self.link
    }
}

/// Who may use a queue may use its dead-letter queue.
fn is_among(queue: &str, allowed: &BTreeSet<String>) -> bool {
    allowed.contains(queue) || living_name(queue).is_some_and(|living| allowed.contains(living))
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::linked::tests::link;

    fn names(config: &[(&'static str, &'static str)]) -> Names {
        let settings = Settings::from_texts(config.iter().copied(), []);
        Names::read(&settings, &link("worker", "mail")).unwrap()
    }

    #[test]
    fn the_own_queue_has_several_names() {
        let names = names(&[("queue", "jobs"), ("prefix", "shop.")]);
        for own in ["", "default", "mail"] {
            assert_eq!(names.resolve(own), Ok("jobs".to_owned()));
        }
        assert_eq!(names.resolve("default-dead"), Ok("jobs-dead".to_owned()));
        assert_eq!(names.resolve("jobs-dead"), Ok("jobs-dead".to_owned()));
        assert_eq!(names.resolve("other"), Ok("shop.other".to_owned()));
        // The prefix is what keeps others out.
        assert_eq!(names.resolve("jobs"), Ok("shop.jobs".to_owned()));
    }

    #[test]
    fn only_listed_queues_are_reached() {
        let names = names(&[("queues", "a, b"), ("queue", "own")]);
        assert_eq!(names.resolve("b"), Ok("b".to_owned()));
        assert_eq!(names.resolve("b-dead"), Ok("b-dead".to_owned()));
        assert_eq!(names.resolve("own"), Ok("own".to_owned()));
        assert_eq!(names.resolve(""), Ok("own".to_owned()));
        for denied in ["c", "c-dead", "ab"] {
            assert_eq!(names.resolve(denied), Err(QueueError::AccessDenied));
        }
    }

    #[test]
    fn names_that_are_none_are_shown() {
        let names = names(&[]);
        let long = "a".repeat(201);
        for bad in ["a b", "a*", ">", "a/b", "ü", "a\n", long.as_str()] {
            let Err(QueueError::Invalid(why)) = names.resolve(bad) else {
                panic!("{bad:?} is a name");
            };
            assert!(why.contains(&bad.escape_debug().to_string()), "{why}");
        }
        let settings = Settings::from_texts([("queue", "a b")], []);
        assert!(Names::read(&settings, &link("worker", "mail")).is_err());
    }
}
