//! `wash policy test`: what rules say to a request, without a lattice.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use lattice_core::policy::PolicyRequest;
use serde_json::Value;

use super::file;
use crate::error::{CliError, Code, Exit, Result};
use crate::output::{Output, fields};

/// Show what the rules in a file say to a request
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File of rules
    #[arg(value_name = "FILE")]
    rules: PathBuf,
    /// Request as a host sends it, `-` for standard input
    #[arg(value_name = "REQUEST.json")]
    request: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<Output> {
    let rules = file::read(&args.rules)?;
    let request = read_request(&args.request)?;
    let decision = rules.decide(&request);
    let verdict = if decision.permitted() {
        "allowed"
    } else {
        "denied"
    };
    let mut text = format!("{} is {verdict} by the {}", request.kind, decision.by);
    if let Some(message) = &decision.message {
        text.push_str(&format!(": {message}"));
    }
    let data = fields([
        ("permitted", decision.permitted().into()),
        ("by", Value::from(decision.by.as_str())),
        ("message", decision.message.clone().into()),
    ]);
    let output = Output::new(text, data);
    Ok(match decision.permitted() {
        true => output,
        // A denial is a result, and scripts see it in the exit code.
        false => output.exit_with(Exit::Refused as u8),
    })
}

fn read_request(path: &Path) -> Result<PolicyRequest> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let bytes = bytes.map_err(|error| {
        CliError::unread(
            format!("could not read the request `{}`", path.display()),
            &error,
        )
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let text = format!("`{}` is no request of a host", path.display());
        CliError::new(Code::InvalidInput, text)
            .caused_by(&error)
            .hint("`wash policy serve --show-requests` prints those that come")
    })
}
