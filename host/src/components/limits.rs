//! The limits that a scale command sets for a component.

use std::time::Duration;

use lattice_control::types::{LIMIT_EXECUTION_TIME, LIMIT_MEMORY};
use lattice_core::StringMap;
use lattice_runtime::{ComponentOptions, Reuse};

use super::error::ScaleError;

/// Limits of one component, read from its command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    memory_bytes: Option<u64>,
    execution_time: Option<Duration>,
}

impl Limits {
    /// Reads the limits that are known; others are kept and reported, as 1.9 hosts do.
    pub(crate) fn parse(map: &StringMap) -> Result<Self, ScaleError> {
        Ok(Self {
            memory_bytes: number(map, LIMIT_MEMORY)?,
            execution_time: number(map, LIMIT_EXECUTION_TIME)?.map(Duration::from_secs),
        })
    }

    /// The longest time one call may take.
    pub(crate) fn longest(&self, host: Duration) -> Duration {
        self.execution_time.map_or(host, |own| own.min(host))
    }

    /// What the runtime is told. CPU time is bounded like time, so that a guest that never waits
    /// is stopped by its own budget, too.
    pub(crate) fn options(&self, host: Duration, reuse: Option<Reuse>) -> ComponentOptions {
        ComponentOptions {
            max_memory_bytes: self.memory_bytes,
            cpu_budget: Some(self.longest(host)),
            reuse,
            ..ComponentOptions::default()
        }
    }
}

fn number(map: &StringMap, name: &'static str) -> Result<Option<u64>, ScaleError> {
    let Some(value) = map.get(name) else {
        return Ok(None);
    };
    match value.trim().parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(ScaleError::Limit {
            name,
            value: value.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[(&str, &str)]) -> Result<Limits, ScaleError> {
        Limits::parse(
            &entries
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn a_limit_of_time_lowers_what_the_host_allows_and_one_of_memory_replaces_it() {
        let host = Duration::from_secs(600);
        let limits = parse(&[("max_execution_time", "2"), ("max_memory_limit", "1000")]).unwrap();
        assert_eq!(limits.longest(host), Duration::from_secs(2));
        assert_eq!(
            limits.longest(Duration::from_secs(1)),
            Duration::from_secs(1)
        );
        assert_eq!(limits.options(host, None).max_memory_bytes, Some(1000));
        assert_eq!(Limits::default().options(host, None).max_memory_bytes, None);
        assert_eq!(parse(&[("other", "x")]).unwrap(), Limits::default());
    }

    #[test]
    fn limits_that_are_no_numbers_are_refused_by_name() {
        for value in ["", "0", "-1", "many"] {
            let error = parse(&[("max_memory_limit", value)]).unwrap_err();
            assert!(error.to_string().contains("`max_memory_limit`"));
        }
    }
}
