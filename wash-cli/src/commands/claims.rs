//! `wash claims`: tokens, in components and by themselves.

use clap::{Args, Subcommand};
use lattice_claims::component::ValidTimes;
use lattice_claims::epoch_seconds;

use super::build::Project;
use super::inspect;
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui};

mod sign;
mod token;

pub(crate) use sign::Signing;

/// Sign components, and make and show tokens
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the claims of a file, as `wash inspect` does
    Inspect(inspect::Args),
    /// Sign a component
    Sign(Box<sign::Args>),
    /// Make a token
    #[command(subcommand)]
    Token(Box<token::Command>),
}

/// How long a token holds.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct TimeArgs {
    /// Days after which the token expires [default: never]
    #[arg(short = 'x', long = "expires", value_name = "DAYS")]
    pub(super) expires: Option<u64>,
    /// Days before which the token does not hold [default: from now on]
    #[arg(short = 'b', long = "nbf", value_name = "DAYS")]
    pub(super) not_before: Option<u64>,
}

impl TimeArgs {
    pub(crate) fn times(self) -> Result<ValidTimes> {
        const DAY: u64 = 86_400;
        let now = epoch_seconds();
        let after =
            |days: Option<u64>| days.map(|days| now.saturating_add(days.saturating_mul(DAY)));
        let times = ValidTimes {
            now,
            expires: after(self.expires),
            not_before: after(self.not_before),
        };
        let never = times.expires.zip(times.not_before);
        if never.is_some_and(|(expires, not_before)| expires <= not_before) {
            let text = "the token would expire before it becomes valid";
            return Err(
                CliError::new(Code::Usage, text).hint("let `--expires` be later than `--nbf`")
            );
        }
        Ok(times)
    }
}

/// The project of this folder, which says what the command line does not, as in 1.x.
fn project_here(ui: &Ui) -> Option<Project> {
    Project::here().unwrap_or_else(|error| {
        ui.notice(&format!("goes on without the project here: {error}"));
        None
    })
}

pub(crate) fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Inspect(args) => inspect::run(&args, ui),
        Command::Sign(args) => sign::run(&args, ui),
        Command::Token(command) => token::run(*command, ui),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_seconds_and_have_to_leave_some_time() {
        let args = |expires, not_before| TimeArgs {
            expires,
            not_before,
        };
        let times = args(Some(2), Some(1)).times().unwrap();
        assert_eq!(times.expires, Some(times.now + 2 * 86_400));
        assert_eq!(times.not_before, Some(times.now + 86_400));
        assert_eq!(args(None, None).times().unwrap().expires, None);
        assert!(args(Some(1), Some(1)).times().is_err());
        assert!(args(Some(u64::MAX), None).times().is_ok());
    }
}
