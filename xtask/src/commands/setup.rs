//! `cargo xtask setup`: installs what is missing and says so; silent and quick when nothing is.

use std::ffi::OsStr;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::{Arg, Parser};

use crate::install::{guest::GuestToolchain, nats, nextest, redis, services};
use crate::shell;
use crate::workspace::Workspace;

/// Something that can be installed apart from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Nats,
    Guests,
    Redis,
    Services,
    Nextest,
}

impl Tool {
    const ALL: [Self; 5] = [
        Self::Nats,
        Self::Guests,
        Self::Redis,
        Self::Services,
        Self::Nextest,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Guests => "guests",
            Self::Redis => "redis",
            Self::Services => "services",
            Self::Nextest => "nextest",
        }
    }

    fn named(name: &OsStr) -> Result<Self> {
        if let Some(tool) = Self::ALL.into_iter().find(|tool| name == tool.name()) {
            return Ok(tool);
        }
        let known = Self::ALL.map(Self::name).join(", ");
        bail!(
            "there is no tool `{}`; the tools are {known}",
            name.display()
        )
    }

    fn ensure(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Nats => nats::ensure(workspace).map(drop),
            Self::Guests => GuestToolchain::ensure(workspace).map(drop),
            Self::Redis => redis::ensure(workspace).map(drop),
            Self::Services => services::ensure(workspace),
            Self::Nextest => nextest::ensure(workspace),
        }
    }
}

/// Installs the tools that the arguments name, every tool of the repository when they name none.
pub(crate) fn run(workspace: &Workspace, arguments: Parser) -> Result<ExitCode> {
    for tool in parse(arguments)? {
        tool.ensure(workspace)?;
    }
    shell::heading(&format!(
        "tools are ready in {}",
        workspace.tools().display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn parse(mut arguments: Parser) -> Result<Vec<Tool>> {
    let mut tools = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(name) => tools.push(Tool::named(&name)?),
            other => return Err(other.unexpected().into()),
        }
    }
    if tools.is_empty() {
        tools.extend(Tool::ALL);
    }
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_tools_are_installed_alone_and_all_without_a_name() {
        let parsed = |words: &[&str]| parse(Parser::from_args(words));
        assert_eq!(parsed(&["redis"]).unwrap(), [Tool::Redis]);
        assert_eq!(parsed(&[]).unwrap(), Tool::ALL);
        let error = parsed(&["mysql"]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("nats, guests, redis, services, nextest"),
            "{error}"
        );
        assert!(parsed(&["--all"]).is_err());
    }
}
