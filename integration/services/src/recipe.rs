//! How one service is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::Greeting;
use crate::plain;

/// A command line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

impl Line {
    pub(crate) fn new(program: PathBuf, arguments: &[&str]) -> Self {
        Self {
            program,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
        }
    }
}

/// How one service is started.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// Run once, before the first start.
    pub(crate) prepare: Vec<Line>,
    /// Programs that run as long as the service and have to be there before it.
    pub(crate) beside: Vec<Line>,
    /// The service.
    pub(crate) command: Line,
    /// Run once, when it answers for the first time.
    pub(crate) finish: Vec<Line>,
    /// Variables of all of these.
    pub(crate) environment: Vec<(String, String)>,
    /// The user they run as where this process is root's: some refuse to be.
    pub(crate) user: Option<&'static str>,
    pub(crate) greeting: Greeting,
    /// Whether clients use the ports after the first.
    pub(crate) all_ports: bool,
}

impl Recipe {
    pub(crate) fn of(command: Line, greeting: Greeting) -> Self {
        Self {
            prepare: Vec::new(),
            beside: Vec::new(),
            command,
            finish: Vec::new(),
            environment: Vec::new(),
            user: None,
            greeting,
            all_ports: false,
        }
    }

    fn other_user(&self) -> Option<&'static str> {
        self.user.filter(|_| rustix::process::geteuid().is_root())
    }

    /// Gives the folder to the user of the service.
    pub(crate) fn own_folder(&self, dir: &Path) -> Result<()> {
        let Some(user) = self.other_user() else {
            return Ok(());
        };
        let status = Command::new("chown").arg("-R").arg(user).arg(dir).status();
        ensure!(
            status.context("could not run `chown`")?.success(),
            "could not give `{}` to the user `{user}`; run `cargo xtask services install`",
            dir.display()
        );
        Ok(())
    }

    pub(crate) fn command_of(&self, line: &Line) -> Result<Command> {
        let mut command = match self.other_user() {
            None => plain(&line.program),
            Some(user) => {
                let setpriv = crate::programs::find("setpriv", &["/usr/bin"])?;
                let mut command = plain(&setpriv);
                command.args([&format!("--reuid={user}"), "--init-groups", "--regid"]);
                command.arg(user).arg("--").arg(&line.program);
                command
            }
        };
        command.args(&line.arguments);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        Ok(command)
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}
