//! Which lines of a process are logged: those that `RUST_LOG` names, or the usual ones.

use std::ffi::OsStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Why `RUST_LOG` does not count.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{}` is {text:?}, which is no filter; what is logged is as if it were not set",
    EnvFilter::DEFAULT_ENV
)]
pub struct LogFilterError {
    text: String,
    source: ParseError,
}

impl LogFilterError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "write it as `info` or `warn,lattice_host=debug`"
    }
}

/// The filter that `RUST_LOG` has, or else this usual one. What is wrong with `RUST_LOG` is for the caller to
/// tell, once there is a log.
#[must_use]
pub fn log_filter(usual: &str) -> (EnvFilter, Option<LogFilterError>) {
    read(std::env::var_os(EnvFilter::DEFAULT_ENV).as_deref(), usual)
}

fn read(set: Option<&OsStr>, usual: &str) -> (EnvFilter, Option<LogFilterError>) {
    let text = set.unwrap_or_default().to_string_lossy();
    // As it is with all variables: one that is set to nothing is not set. The library takes it for `error`.
    if text.split(',').all(|part| part.trim().is_empty()) {
        return (EnvFilter::new(usual), None);
    }
    match EnvFilter::try_new(&text) {
        Ok(filter) => (filter, None),
        Err(source) => {
            let text = text.into_owned();
            (EnvFilter::new(usual), Some(LogFilterError { text, source }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: Option<&str>) -> (String, Option<LogFilterError>) {
        let (filter, error) = super::read(set.map(OsStr::new), "warn");
        (filter.to_string(), error)
    }

    #[test]
    fn a_variable_that_is_set_to_nothing_counts_as_not_set() {
        for set in [None, Some(""), Some(" "), Some(","), Some(" , ")] {
            let (filter, error) = read(set);
            assert_eq!(
                (filter.as_str(), error.is_none()),
                ("warn", true),
                "{set:?}"
            );
        }
    }

    #[test]
    fn what_is_set_goes_first() {
        let (filter, error) = read(Some("debug"));
        assert_eq!((filter.as_str(), error.is_none()), ("debug", true));
    }

    #[test]
    fn what_is_no_filter_is_told_and_does_not_count() {
        let (filter, error) = read(Some("lattice_host=loud"));
        assert_eq!(filter, "warn");
        let error = error.unwrap();
        assert!(error.to_string().contains("lattice_host=loud"), "{error}");
        assert!(error.hint().contains("info"));
    }
}
