//! Commands and what they print, out of the `console` blocks of a readme.

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::Instant;

use lattice_integration::{STEP, workspace};

use crate::shell::Shell;

/// Commands in the order of the text.
#[derive(Debug)]
pub(crate) struct Transcript {
    steps: Vec<Step>,
}

#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    /// What the command prints; empty where the readme does not show it.
    output: String,
}

impl Transcript {
    pub(crate) fn read(path: &str) -> Result<Self> {
        let file = workspace().join(path);
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let steps = parse(&text);
        ensure!(!steps.is_empty(), "{path} has no transcript");
        Ok(Self { steps })
    }

    /// Where the first command that begins with `start` stands.
    pub(crate) fn position(&self, start: &str) -> Option<usize> {
        self.steps
            .iter()
            .position(|step| step.command.starts_with(start))
    }

    pub(crate) async fn replay(&self, shell: &Shell) -> Result<()> {
        for step in &self.steps {
            step.replay(shell)
                .await
                .with_context(|| format!("$ {}", step.command))?;
        }
        Ok(())
    }
}

impl Step {
    async fn replay(&self, shell: &Shell) -> Result<()> {
        let wanted = shell.translate(&self.output);
        let deadline = Instant::now() + STEP;
        loop {
            let outcome = shell.run(&self.command).await;
            match outcome {
                Ok(printed) if wanted.is_empty() || printed == wanted => return Ok(()),
                // A link is put before the provider at its end knows it; a reader asks again too.
                outcome if self.command.starts_with("curl ") && Instant::now() < deadline => {
                    drop(outcome);
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                Ok(printed) => bail!("printed {printed:?} instead of {wanted:?}"),
                Err(error) => return Err(error),
            }
        }
    }
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step {
                        command: command.to_owned(),
                        output: String::new(),
                    });
                }
                (None, Some(step)) => {
                    step.output.push_str(line);
                    step.output.push('\n');
                }
                (None, None) => {}
            },
        }
    }
    steps
}

#[test]
fn transcript_is_read_from_console_blocks_only() {
    let text = "```sh\n$ not this\n```\ntext\n```console\n$ echo a\na\n$ true\n```\n```console\n$ b\n```\n";
    let step = |command: &str, output: &str| Step {
        command: command.into(),
        output: output.into(),
    };
    assert_eq!(
        parse(text),
        [step("echo a", "a\n"), step("true", ""), step("b", "")]
    );
}
