//! Whether the rules of a link can be kept.

use super::table::{self, Known};
use super::{LinkRules, Rule};
use crate::grant::{Grants, InvalidGrant};
use crate::link::lookup_name;

/// The longest list of a rule.
const MAX_ITEMS: usize = 64;
/// The longest item, in bytes.
const MAX_ITEM_BYTES: usize = 512;

/// Why a link with such rules is not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A rule of another version, or one that cannot be read.
    #[error("this host does not know the rule `{rule}`, or cannot read its value")]
    Unknown {
        /// Its key.
        rule: String,
    },
    /// A rule lists too much, or an item of it is no good.
    #[error("the rule `{rule}` has the item `{}`, which {why}", .item.escape_debug())]
    Item {
        /// The rule.
        rule: Rule,
        /// The item, cut when long.
        item: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A list is too long.
    #[error("the rule `{rule}` lists {count} items, more than {MAX_ITEMS}")]
    TooMany {
        /// The rule.
        rule: Rule,
        /// How many.
        count: usize,
    },
    /// An item of the rule `to` is no grant.
    #[error("the rule `to` cannot be read")]
    Grant(#[from] InvalidGrant),
    /// A function is named that no interface of the link has.
    #[error("the rule `allow` names `{name}`, which no interface of the link has")]
    Function {
        /// The name.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// A rule of this kind cannot be kept for an interface of the link.
    #[error("the rule `{rule}` has no meaning for `{interface}`")]
    Meaningless {
        /// The rule.
        rule: Rule,
        /// The interface.
        interface: String,
        /// The rules that have one.
        meaningful: Vec<&'static str>,
    },
    /// A provider makes the calls of an interface, and no host looks at these.
    #[error("no rule is kept for `{interface}`, whose calls a provider makes")]
    FromProvider {
        /// The interface.
        interface: String,
    },
}

impl RuleError {
    /// The rule that is no good, by its name.
    #[must_use]
    pub fn rule(&self) -> &str {
        match self {
            Self::Unknown { rule } => rule,
            Self::Item { rule, .. }
            | Self::TooMany { rule, .. }
            | Self::Meaningless { rule, .. } => rule.as_str(),
            Self::Grant(_) => Rule::To.as_str(),
            Self::Function { .. } => Rule::Allow.as_str(),
            Self::FromProvider { .. } => "any",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { .. } => {
                "leave the rule out, or put the link through a host of the version that has it"
                    .to_owned()
            }
            Self::Item { .. } | Self::TooMany { .. } => {
                format!("a rule lists up to {MAX_ITEMS} items of up to {MAX_ITEM_BYTES} bytes")
            }
            Self::Grant(_) => {
                "write for instance `--to 'GET https://api.example.com/v1'`".to_owned()
            }
            Self::Function { known, .. } => format!("its functions are {}", known.join(", ")),
            Self::Meaningless {
                rule: Rule::Within,
                interface,
                ..
            } if interface.contains(":sql/") => {
                "a statement can name other databases than the one that is opened: give the link a \
                 user of the database who sees no more than it should; which databases can be opened \
                 is up to `databases` in the config of the link"
                    .to_owned()
            }
            Self::Meaningless { meaningful, .. } => format!(
                "it can have {}; interfaces that differ in this need a link each",
                meaningful.join(", ")
            ),
            Self::FromProvider { .. } => {
                "put the rule on the links whose source is a component".to_owned()
            }
        }
    }
}

impl LinkRules {
    /// Checks that each rule can be kept for the interfaces of a link.
    ///
    /// # Errors
    ///
    /// Names the first rule that cannot.
    pub fn check(
        &self,
        namespace: &str,
        package: &str,
        interfaces: &[String],
    ) -> Result<(), RuleError> {
        if self.is_empty() {
            return Ok(());
        }
        if let Some(rule) = self.unknown.keys().next() {
            let rule = rule.chars().take(80).collect();
            return Err(RuleError::Unknown { rule });
        }
        for rule in Rule::ALL {
            check_items(rule, self.list(rule))?;
        }
        Grants::of(self.to.iter().map(String::as_str))?;
        let lookups: Vec<String> = interfaces
            .iter()
            .map(|name| format!("{namespace}:{package}/{}", lookup_name(name)))
            .collect();
        for lookup in &lookups {
            if table::is_from_provider(lookup) {
                let interface = lookup.clone();
                return Err(RuleError::FromProvider { interface });
            }
        }
        self.check_meaning(&lookups)?;
        self.check_functions(&lookups)
    }

    fn check_meaning(&self, lookups: &[String]) -> Result<(), RuleError> {
        let known: Vec<_> = lookups.iter().map(|lookup| table::known(lookup)).collect();
        // One interface of several that only changes things is shut by the rule, and rightly so.
        let any_reads = known.iter().flatten().any(Known::reads);
        for (lookup, known) in lookups.iter().zip(&known) {
            if table::is_types(lookup) {
                continue;
            }
            let has_meaning = |rule: &Rule| match (rule, known) {
                (Rule::ReadOnly, Some(_)) => any_reads,
                (rule, Some(known)) => known.has_meaning(*rule),
                (rule, None) => matches!(rule, Rule::Allow | Rule::Rate),
            };
            let mut rules = Rule::ALL.into_iter().filter(|rule| self.has(*rule));
            if let Some(rule) = rules.find(|rule| !has_meaning(rule)) {
                let meaningful = Rule::ALL.iter().filter(|rule| has_meaning(rule));
                return Err(RuleError::Meaningless {
                    rule,
                    interface: lookup.clone(),
                    meaningful: meaningful.map(|rule| rule.as_str()).collect(),
                });
            }
        }
        Ok(())
    }

    /// Functions are only checked where all of them are known.
    fn check_functions(&self, lookups: &[String]) -> Result<(), RuleError> {
        let lookups = lookups.iter().filter(|lookup| !table::is_types(lookup));
        let Some(known) = lookups
            .map(|lookup| table::known(lookup))
            .collect::<Option<Vec<_>>>()
        else {
            return Ok(());
        };
        let functions = || known.iter().flat_map(Known::functions);
        for name in &self.allow {
            if !functions().any(|function| function.is_called(name)) {
                let mut known: Vec<_> = functions().map(|function| function.shown()).collect();
                known.sort_unstable();
                known.dedup();
                let name = name.clone();
                return Err(RuleError::Function { name, known });
            }
        }
        Ok(())
    }
}

fn check_items(rule: Rule, items: &[String]) -> Result<(), RuleError> {
    if items.len() > MAX_ITEMS {
        let count = items.len();
        return Err(RuleError::TooMany { rule, count });
    }
    for item in items {
        let why = if item.len() > MAX_ITEM_BYTES {
            "is too long"
        } else if item.chars().any(char::is_control) {
            "has a control character"
        // The empty name stands for the store that the link itself names.
        } else if item.is_empty() && rule != Rule::Within {
            "is empty"
        } else if rule == Rule::Within && item.trim_end_matches('*').contains('*') {
            "has a `*` elsewhere than at its end"
        } else if rule == Rule::Subject && !is_pattern(item) {
            "is no pattern of subjects, such as `orders.*` or `orders.>`"
        } else {
            continue;
        };
        let item = item.chars().take(80).collect();
        return Err(RuleError::Item { rule, item, why });
    }
    Ok(())
}

fn is_pattern(text: &str) -> bool {
    let count = super::words(text).count();
    let is_good = |(at, (word, end)): (usize, (&str, Option<char>))| match word {
        ">" => at + 1 == count && end.is_none(),
        "*" => true,
        // Topics of MQTT may begin or end with their `/`.
        "" => end == Some('/'),
        plain => super::is_subject(plain),
    };
    !text.is_empty() && !text.ends_with('.') && super::words(text).enumerate().all(is_good)
}
