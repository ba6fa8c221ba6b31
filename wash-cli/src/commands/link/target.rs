//! Which interfaces a link is about: `wasi keyvalue` or `wasi:keyvalue/store`.

use crate::error::{CliError, Code, Result};

/// A WIT package and some of its interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) namespace: String,
    pub(super) package: String,
    pub(super) interfaces: Vec<String>,
}

impl Package {
    /// Reads `NAMESPACE PACKAGE` of 1.x, or one or more of `namespace:package[/interface[,…]]`.
    /// Versions do not matter to links and are dropped.
    pub(super) fn parse(words: &[String]) -> Result<Self> {
        if let [namespace, package] = words
            && !namespace.contains([':', '/'])
            && !package.contains([':', '/'])
        {
            return Ok(Self {
                namespace: namespace.clone(),
                package: package.clone(),
                interfaces: Vec::new(),
            });
        }
        let mut all: Option<Self> = None;
        for word in words {
            let one = Self::parse_short(word).ok_or_else(|| unreadable(words))?;
            match &mut all {
                None => all = Some(one),
                Some(all) if all.namespace == one.namespace && all.package == one.package => {
                    all.interfaces.extend(one.interfaces);
                }
                Some(all) => return Err(two_packages(all, &one)),
            }
        }
        all.ok_or_else(|| unreadable(words))
    }

    fn parse_short(word: &str) -> Option<Self> {
        let (namespace, rest) = word.split_once(':')?;
        let rest = rest.split_once('@').map_or(rest, |(rest, _)| rest);
        let (package, interfaces) = match rest.split_once('/') {
            Some((package, interfaces)) => (package, interfaces.split(',').collect()),
            None => (rest, Vec::new()),
        };
        let complete = !namespace.is_empty()
            && !package.is_empty()
            && interfaces
                .iter()
                .all(|name| !name.is_empty() && !name.contains('/'));
        complete.then(|| Self {
            namespace: namespace.to_owned(),
            package: package.to_owned(),
            interfaces: interfaces.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Adds interfaces given by flag, each once.
    pub(super) fn with(mut self, interfaces: &[String]) -> Self {
        for interface in interfaces {
            let name = interface
                .split_once('@')
                .map_or(interface.as_str(), |(name, _)| name);
            self.interfaces.push(name.to_owned());
        }
        let mut seen = Vec::new();
        self.interfaces.retain(|name| {
            let new = !seen.contains(name);
            seen.push(name.clone());
            new
        });
        self
    }
}

fn unreadable(words: &[String]) -> CliError {
    CliError::new(
        Code::Usage,
        format!("`{}` does not name an interface", words.join(" ")),
    )
    .hint("write `wasi:keyvalue/store`, or `wasi keyvalue --interface store`")
}

fn two_packages(one: &Package, other: &Package) -> CliError {
    let text = format!(
        "a link is about one package, not both `{}:{}` and `{}:{}`",
        one.namespace, one.package, other.namespace, other.package
    );
    CliError::new(Code::Usage, text).hint("put one link for each package")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Package> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Package::parse(&words)
    }

    fn package(interfaces: &[&str]) -> Package {
        Package {
            namespace: "wasi".into(),
            package: "keyvalue".into(),
            interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn both_forms_mean_the_same() {
        assert_eq!(parse(&["wasi", "keyvalue"]).unwrap(), package(&[]));
        assert_eq!(
            parse(&["wasi:keyvalue/store"]).unwrap(),
            package(&["store"])
        );
        assert_eq!(
            parse(&["wasi:keyvalue/store@0.2.0-draft"]).unwrap(),
            package(&["store"])
        );
        assert_eq!(
            parse(&["wasi:keyvalue/store,atomics"]).unwrap(),
            package(&["store", "atomics"])
        );
        let two = parse(&["wasi:keyvalue/store", "wasi:keyvalue/atomics"]).unwrap();
        assert_eq!(two, package(&["store", "atomics"]));
        assert_eq!(parse(&["wasi:keyvalue"]).unwrap(), package(&[]));
    }

    #[test]
    fn interfaces_by_flag_are_added_once() {
        let flags = ["atomics".to_owned(), "store@0.2.0".to_owned()];
        assert_eq!(
            package(&["store"]).with(&flags),
            package(&["store", "atomics"])
        );
    }

    #[test]
    fn nonsense_and_mixed_packages_are_refused() {
        for words in [
            &["wasi"][..],
            &["wasi:"],
            &[":x"],
            &["a:b/"],
            &["a:b/c/d"],
            &["a", "b", "c"],
        ] {
            assert_eq!(parse(words).unwrap_err().code(), Code::Usage, "{words:?}");
        }
        assert!(
            parse(&["a:b/c", "a:d/e"])
                .unwrap_err()
                .message()
                .contains("one package")
        );
    }
}
