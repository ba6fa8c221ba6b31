//! `cargo xtask tidy`: the habits of this repository that no compiler checks.
//!
//! The same checks run as a test of this crate, so that `cargo xtask test` covers them.

mod arrows;
mod modules;
mod source;
mod text;
mod wit;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use lexopt::Parser;

use crate::shell;
use crate::workspace::Workspace;

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    path: PathBuf,
    /// Counted from 1; 0 stands for the whole file.
    line: usize,
    text: String,
}

impl Problem {
    fn file(path: &Path, text: impl Into<String>) -> Self {
        Self {
            path: path.to_path_buf(),
            line: 0,
            text: text.into(),
        }
    }

    fn line(path: &Path, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.to_path_buf(),
            line,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.text),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.text),
        }
    }
}

/// Parses the arguments, checks, and lists what it finds.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    let problems = check(workspace)?;
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        shell::heading("tidy");
        return Ok(ExitCode::SUCCESS);
    }
    shell::heading(&format!("{} problems", problems.len()));
    Ok(ExitCode::FAILURE)
}

/// Everything that is wrong, sorted, with paths seen from the repository.
fn check(workspace: &Workspace) -> Result<Vec<Problem>> {
    let root = workspace.root();
    let files = source::rust_files(root)?;
    let mut problems = modules::check(root, &files)?;
    problems.extend(text::check(root, &files)?);
    problems.extend(arrows::check(root)?);
    problems.extend(wit::check(&root.join("interfaces/wit"))?);
    for problem in &mut problems {
        if let Ok(relative) = problem.path.strip_prefix(root) {
            problem.path = relative.to_path_buf();
        }
    }
    problems.sort();
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_is_tidy() {
        let problems = check(&Workspace::locate().unwrap()).unwrap();
        let listed: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert!(listed.is_empty(), "\n{}\n", listed.join("\n"));
    }
}
