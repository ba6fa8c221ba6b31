//! What calls through a link may do: rules that the host of the caller keeps before anything leaves
//! it. An addition to the links of the 1.9 lattice, which old peers ignore.

mod check;
mod rate;
mod table;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use check::RuleError;
pub use rate::{InvalidRate, Per, Rate};
pub(crate) use table::leads_to;
pub use table::{Answer, Effect, Function, Param, function, is_about_form};

/// The kinds of rules that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Which functions may be called.
    Allow,
    /// Nothing may be changed.
    ReadOnly,
    /// Which buckets, containers or queues may be used.
    Within,
    /// What keys, objects, jobs and locks have to begin with.
    Prefix,
    /// To which subjects messages may go.
    Subject,
    /// Where HTTP requests may go.
    To,
    /// How many calls there may be.
    Rate,
}

impl Rule {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Allow,
        Self::ReadOnly,
        Self::Within,
        Self::Prefix,
        Self::Subject,
        Self::To,
        Self::Rate,
    ];

    /// The name on the command line, in errors and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::ReadOnly => "read-only",
            Self::Within => "within",
            Self::Prefix => "prefix",
            Self::Subject => "subject",
            Self::To => "to",
            Self::Rate => "rate",
        }
    }

    /// The name in JSON.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How deep a rule may be nested that is kept as it was found. What is deeper stands as text: an answer, where
/// it is some levels deeper still, could not be read by anybody.
const DEEPEST: usize = 16;

/// The rules of a link. All of them have to be kept; an empty list is no rule.
///
/// Reading never fails: what a newer version wrote, or what cannot be read, stays in
/// [`LinkRules::unknown`], and no call passes a link with such a rule. What is nested deeper than any rule
/// stands there as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Value", into = "Value")]
pub struct LinkRules {
    /// The functions that may be called, by their names in WIT.
    pub allow: Vec<String>,
    /// Whether only functions may be called that change nothing.
    pub read_only: bool,
    /// The buckets, containers or queues that may be used; a `*` may end a name. Statements of SQL name
    /// databases themselves, so that links for it are refused with this rule: the user of the database
    /// and `databases` in the config of the link say what is in reach.
    pub within: Vec<String>,
    /// What keys, objects, jobs and locks have to begin with.
    pub prefix: Vec<String>,
    /// Patterns of subjects, as NATS has them.
    pub subject: Vec<String>,
    /// Where HTTP requests may go; see [`crate::grant`].
    pub to: Vec<String>,
    /// How many calls there may be, per host.
    pub rate: Option<Rate>,
    /// Rules that this version does not know or cannot read, as they were found.
    pub unknown: BTreeMap<String, Value>,
}

impl LinkRules {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the link has a rule of this kind.
    #[must_use]
    pub fn has(&self, rule: Rule) -> bool {
        match rule {
            Rule::ReadOnly => self.read_only,
            Rule::Rate => self.rate.is_some(),
            listed => !self.list(listed).is_empty(),
        }
    }

    /// Those that the target keeps as well. Of others it is told that there are some, so that a change
    /// of them does not disturb it.
    #[must_use]
    pub fn for_target(&self) -> Self {
        Self {
            to: self.to.clone(),
            ..Self::default()
        }
    }

    /// The items of a rule that is a list.
    #[must_use]
    pub fn list(&self, rule: Rule) -> &[String] {
        match rule {
            Rule::Allow => &self.allow,
            Rule::Within => &self.within,
            Rule::Prefix => &self.prefix,
            Rule::Subject => &self.subject,
            Rule::To => &self.to,
            Rule::ReadOnly | Rule::Rate => &[],
        }
    }

    /// Takes over a rule, if it can be read.
    fn take(&mut self, key: &str, value: &Value) -> bool {
        let Some(rule) = Rule::ALL.into_iter().find(|rule| rule.key() == key) else {
            return false;
        };
        match rule {
            Rule::ReadOnly => match value {
                Value::Bool(value) => self.read_only = *value,
                _ => return false,
            },
            Rule::Rate => match value.as_str().and_then(|text| text.parse().ok()) {
                Some(rate) => self.rate = Some(rate),
                None => return false,
            },
            listed => match items(value) {
                Some(items) => *self.list_mut(listed) = items,
                None => return false,
            },
        }
        true
    }

    fn list_mut(&mut self, rule: Rule) -> &mut Vec<String> {
        match rule {
            Rule::Within => &mut self.within,
            Rule::Prefix => &mut self.prefix,
            Rule::Subject => &mut self.subject,
            Rule::To => &mut self.to,
            Rule::Allow | Rule::ReadOnly | Rule::Rate => &mut self.allow,
        }
    }
}

/// The texts of a list, or the one that stands in its place. A list of nothing is none: it would
/// allow nothing, or all, depending on who reads it.
fn items(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match value {
        Value::Array(values) if !values.is_empty() => values.iter().map(text).collect(),
        one => text(one).map(|one| vec![one]),
    }
}

/// A rule that is kept: one that is nested too deep as text, in a form that is no rule either.
fn flat(value: Value) -> Value {
    if !is_deeper(&value, DEEPEST) {
        return value;
    }
    let text = Value::String(value.to_string());
    Value::Object(Map::from_iter([("nested".to_owned(), text)]))
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    let is_deeper = |inner| levels == 0 || is_deeper(inner, levels - 1);
    match value {
        Value::Array(values) => values.iter().any(is_deeper),
        Value::Object(values) => values.values().any(is_deeper),
        _ => false,
    }
}

impl From<Value> for LinkRules {
    fn from(value: Value) -> Self {
        let mut rules = Self::default();
        let found = match value {
            Value::Null => return rules,
            Value::Object(found) => found,
            other => Map::from_iter([("rules".to_owned(), other)]),
        };
        for (key, value) in found {
            if !rules.take(&key, &value) {
                rules.unknown.insert(key, flat(value));
            }
        }
        rules
    }
}

impl From<LinkRules> for Value {
    fn from(rules: LinkRules) -> Self {
        let mut map = Map::new();
        for rule in Rule::ALL.into_iter().filter(|rule| rules.has(*rule)) {
            let value = match rule {
                Rule::ReadOnly => Self::Bool(true),
                Rule::Rate => rules.rate.map(|rate| rate.to_string()).into(),
                listed => rules.list(listed).into(),
            };
            map.insert(rule.key().to_owned(), value);
        }
        map.extend(rules.unknown);
        Self::Object(map)
    }
}

/// As on the command line, such as `allow get,list-keys; read-only`.
impl fmt::Display for LinkRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Rule::ALL.into_iter().filter(|rule| self.has(*rule));
        let known = known.map(|rule| match rule {
            Rule::ReadOnly => rule.to_string(),
            Rule::Rate => format!("{rule} {}", self.rate.unwrap_or_default()),
            listed => format!("{rule} {}", self.list(listed).join(",")),
        });
        let unknown = self.unknown.keys().map(|key| format!("{key} (unknown)"));
        let all: Vec<String> = known.chain(unknown).collect();
        f.write_str(&all.join("; "))
    }
}

/// Whether a name is one of the given ones, of which each may end with a `*`.
#[must_use]
pub fn matches_name(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => pattern == name,
        })
}

/// Whether a key begins with one of the prefixes. One that leads upwards somewhere does not: a store
/// whose keys are paths would end up elsewhere.
#[must_use]
pub fn matches_prefix(prefixes: &[String], key: &str) -> bool {
    let leads_up = key.split(['/', '\\']).any(|part| part == "..");
    !leads_up && prefixes.iter().any(|prefix| key.starts_with(prefix))
}

/// Whether a subject is covered by one of the patterns, whose words end at a `.`, or at a `/` as those of
/// MQTT do. One that is itself a pattern, or none at all, is not.
///
/// `*` stands for no address that a provider has made for an answer (`reply:…`, of RabbitMQ), which can
/// name any queue; `>` stands for those as well. Nor does it stand for a word with a `#` or `?` that another
/// word follows: for Kafka the topic ends there, before what the pattern says after its `*`.
#[must_use]
pub fn matches_subject(patterns: &[String], subject: &str) -> bool {
    is_subject(subject) && patterns.iter().any(|pattern| covers(pattern, subject))
}

fn is_subject(text: &str) -> bool {
    let is_token = |token: &str| {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '*' | '>');
        !token.is_empty() && token.chars().all(plain)
    };
    text.split('.').all(is_token)
}

/// What ends a word of a subject.
const ENDS: [char; 2] = ['.', '/'];

/// What ends a topic of Kafka within a subject: a key follows, or the id of an answer.
const ENDS_TOPIC: [char; 2] = ['#', '?'];

/// How an address begins that a provider has made for an answer.
const FOR_ANSWERS: &str = "reply:";

fn covers(pattern: &str, subject: &str) -> bool {
    let (mut wanted, mut given) = (words(pattern), words(subject));
    let is_answer = subject.starts_with(FOR_ANSWERS);
    loop {
        match (wanted.next(), given.next()) {
            (Some((">", None)), Some(_)) | (None, None) => return true,
            (Some(("*", end)), Some((word, other))) if end == other => {
                let ends_early = end.is_some() && word.contains(ENDS_TOPIC);
                if is_answer || ends_early {
                    return false;
                }
            }
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// The words of a subject, each with what ends it.
fn words(text: &str) -> impl Iterator<Item = (&str, Option<char>)> {
    text.split_inclusive(ENDS)
        .map(|part| match part.strip_suffix(ENDS) {
            Some(word) => (word, part.chars().last()),
            None => (part, None),
        })
}

#[cfg(test)]
mod tests;
