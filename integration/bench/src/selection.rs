//! Which measures a command line asks for.

use clap::Args;

use crate::measures::{MEASURES, Measure, Process, chosen};
use crate::{abort, memory, overload, restart, scale, start, wasmtime_serve};

/// The part of the command line that chooses.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only measures whose name contains this; several with commas between, or given again.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Also what takes minutes: restarts, many components, many hosts, overload, aborts.
    #[arg(long)]
    pub(crate) full: bool,
    /// Instead, operations of each capability through components, beside the clients of backends.
    #[arg(long, conflicts_with = "full")]
    pub(crate) capabilities: bool,
}

/// Figures that come from one run of something, beside those of interleaved rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    ColdStart,
    Idle,
    Restart,
    Idle10000,
    Scale,
    Overload,
    Abort,
}

impl Group {
    const ALL: [Self; 7] = [
        Self::ColdStart,
        Self::Idle,
        Self::Restart,
        Self::Idle10000,
        Self::Scale,
        Self::Overload,
        Self::Abort,
    ];

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::ColdStart => start::COLD_START,
            Self::Idle => memory::IDLE,
            Self::Restart => restart::NAMES,
            Self::Idle10000 => memory::IDLE_10000,
            Self::Scale => scale::NAMES,
            Self::Overload => overload::NAMES,
            Self::Abort => abort::NAMES,
        }
    }

    /// Whether it takes minutes.
    fn is_long(self) -> bool {
        !matches!(self, Self::ColdStart | Self::Idle)
    }

    /// What its figures are compared with.
    fn base(self) -> Option<Self> {
        match self {
            Self::Restart => Some(Self::ColdStart),
            Self::Idle10000 => Some(Self::Idle),
            _ => None,
        }
    }
}

impl Selection {
    /// Whether one of the measures is asked for, by a part of a name.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(&**part))
    }

    /// Whether one of those that take minutes is asked for: all of them, or by its whole name.
    fn wants_long(&self, names: &[&str]) -> bool {
        if self.full {
            return names.iter().any(|name| self.wants(name));
        }
        self.only.iter().any(|name| names.contains(&&**name))
    }

    /// Whether a group is to run: by itself, or as another one is compared with it.
    pub(crate) fn runs(&self, group: Group) -> bool {
        let asked = if group.is_long() {
            self.wants_long(group.names())
        } else {
            group.names().iter().any(|name| self.wants(name))
        };
        let is_base = |other: &Group| other.base() == Some(group) && self.runs(*other);
        asked || Group::ALL.iter().any(is_base)
    }

    /// The measures of the interleaved rounds.
    pub(crate) fn in_rounds(&self) -> Vec<&'static Measure> {
        let has_wasmtime = wasmtime_serve::program().is_some();
        let can_run = |m: &Measure| has_wasmtime || !m.metered.contains(&Process::Wasmtime);
        chosen(|name| self.wants(name), can_run)
    }

    /// Whether `wasmtime serve` is asked for and cannot run.
    pub(crate) fn lacks_wasmtime(&self) -> bool {
        chosen(|name| self.wants(name), |_| true).len() > self.in_rounds().len()
    }

    /// Whether a run has to have a figure. What no measure is called is not left out by choice: a
    /// run that should have it does not know it any more.
    pub(crate) fn expects(&self, figure: &str) -> bool {
        if self.capabilities {
            return self.wants(figure);
        }
        if MEASURES.iter().any(|measure| measure.name == figure) {
            return self.in_rounds().iter().any(|m| m.name == figure);
        }
        let mut groups = Group::ALL.into_iter();
        groups
            .find(|group| group.names().contains(&figure))
            .is_none_or(|group| self.runs(group))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        selection: Selection,
    }

    fn selection(line: &str) -> Selection {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::parse_from(words).selection
    }

    #[test]
    fn long_measures_run_when_all_or_they_are_asked_for() {
        let runs = |line: &str| selection(line).runs(Group::Idle10000);
        assert!(!runs(""));
        assert!(!runs("--only idle"));
        assert!(runs("--only idle_10000"));
        assert!(runs("--full"));
        assert!(runs("--full --only idle"));
        assert!(!runs("--full --only bus"));
        assert!(runs("--only bus,idle_10000"));
    }

    #[test]
    fn a_group_brings_what_it_is_compared_with() {
        assert!(selection("--only restart_50").runs(Group::ColdStart));
        assert!(selection("--only idle_10000").runs(Group::Idle));
        assert!(!selection("--only scale_8_hosts").runs(Group::Idle));
    }

    #[test]
    fn part_of_a_name_chooses() {
        assert!(selection("").wants("bus_1"));
        assert!(selection("--only bus").wants("bus_1"));
        assert!(!selection("--only http").wants("bus_1"));
        assert!(selection("--only http,bus").wants("bus_1"));
        assert!(selection("--only http --only bus").wants("bus_1"));
    }

    #[test]
    fn capabilities_are_measured_by_themselves() {
        assert!(selection("--capabilities --only sql").capabilities);
        assert!(Line::try_parse_from(["bench", "--capabilities", "--full"]).is_err());
    }

    #[test]
    fn a_figure_is_expected_unless_the_line_leaves_it_out() {
        let expects = |line: &str, name: &str| selection(line).expects(name);
        assert!(expects("", "component_call"));
        assert!(!expects("--only http", "component_call"));
        assert!(expects("--only component_call_16", "bus_16"));
        assert!(!expects("", "overload_at_3"));
        assert!(expects("--full", "overload_at_3"));
        assert!(!expects("--full --only abort", "overload_at_3"));
        assert!(expects("--capabilities", "sql_sqlite_query_1_in-host"));
        assert!(expects("--only http", "measured before and forgotten"));
    }
}
