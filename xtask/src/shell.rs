//! Running programs: long steps show that they live, failures show what the program said.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Lines of a failed program that are repeated in the error.
const TAIL: usize = 25;

/// Announces a step.
pub(crate) fn heading(text: &str) {
    println!("==> {text}");
}

/// Says something about the step under way.
pub(crate) fn note(text: &str) {
    println!("    {text}");
}

/// What cargo tells the program that it runs about its package.
const ABOUT_US: [&str; 5] = [
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_PRIMARY_PACKAGE",
];

/// The cargo that runs this program.
///
/// Without what that cargo says about this package: some build scripts look at it, and would run
/// again whenever `cargo build` and `cargo xtask` take turns.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let is_about_us = |text: &str| ABOUT_US.iter().any(|prefix| text.starts_with(prefix));
        if name.to_str().is_some_and(is_about_us) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program that shows its own progress; its output goes straight to the user.
pub(crate) fn stream(command: &mut Command) -> Result<()> {
    let shown = display(command);
    let status = command
        .status()
        .with_context(|| format!("could not start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a short query; `None` when the program is missing or fails.
pub(crate) fn query(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    query(Command::new("id").arg("-u")).as_deref() == Some("0")
}

/// What is done about a program that passes its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// It is killed.
    Ended,
    /// The user is told, once per limit, and may end it.
    Told,
}

/// Runs a program and keeps its output to itself: shows a sign of life while it works, and the
/// last lines only if it fails or passes `limit`.
pub(crate) fn quiet(command: &mut Command, limit: Duration) -> Result<()> {
    run_quiet(command, limit, Late::Ended)
}

/// Like [`quiet`] for what must not be left half done: past `limit` it says so and goes on.
pub(crate) fn quiet_to_the_end(command: &mut Command, limit: Duration) -> Result<()> {
    run_quiet(command, limit, Late::Told)
}

fn run_quiet(command: &mut Command, limit: Duration, late: Late) -> Result<()> {
    let shown = display(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{shown}`"))?;
    let lines = read_lines(&mut child);
    let tail = watch(&mut child, &lines, limit, late);
    let status = child.wait().with_context(|| format!("lost `{shown}`"))?;
    match tail {
        Ok(_) if status.success() => Ok(()),
        Ok(tail) => bail!("`{shown}` failed ({status})\n{}", indent(&tail)),
        Err(tail) => bail!(
            "`{shown}` took longer than {} s\n{}",
            limit.as_secs(),
            indent(&tail)
        ),
    }
}

/// Follows the output until it ends (`Ok`) or the limit passes and the child is killed (`Err`).
fn watch(
    child: &mut Child,
    lines: &mpsc::Receiver<String>,
    limit: Duration,
    late: Late,
) -> Result<VecDeque<String>, VecDeque<String>> {
    let mut progress = Progress::new();
    let mut due = limit;
    let mut tail = VecDeque::with_capacity(TAIL);
    loop {
        match lines.recv_timeout(progress.interval) {
            Ok(line) => {
                if tail.len() == TAIL {
                    tail.pop_front();
                }
                tail.push_back(line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                progress.clear();
                return Ok(tail);
            }
        }
        let elapsed = progress.started.elapsed();
        if elapsed > due {
            progress.clear();
            if late == Late::Ended {
                // A child that has just ended by itself cannot be killed; `wait` reports it.
                let _ = child.kill();
                return Err(tail);
            }
            let (id, seconds) = (child.id(), elapsed.as_secs());
            note(&format!(
                "process {id} still runs after {seconds} s and is left to finish"
            ));
            due = elapsed + limit;
        }
        progress.show(tail.back().map_or("", String::as_str));
    }
}

/// The sign of life of a quiet step: one line rewritten on a terminal, a line now and then in a log.
struct Progress {
    started: Instant,
    shown: Instant,
    interval: Duration,
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let interval = Duration::from_secs(if terminal { 1 } else { 15 });
        Self {
            started: Instant::now(),
            shown: Instant::now(),
            interval,
            terminal,
        }
    }

    fn show(&mut self, last: &str) {
        if self.shown.elapsed() < self.interval {
            return;
        }
        self.shown = Instant::now();
        let seconds = self.started.elapsed().as_secs();
        let last: String = last
            .trim()
            .chars()
            .filter(|c| !c.is_control())
            .take(60)
            .collect();
        if self.terminal {
            print!("\r\x1b[2K    {seconds:>4} s  {last}");
            // The line is decoration: a closed terminal must not fail the step.
            let _ = std::io::stdout().flush();
        } else {
            note(&format!("... {seconds} s  {last}"));
        }
    }

    fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[2K");
            let _ = std::io::stdout().flush();
        }
    }
}

/// Sends the lines of both outputs to one channel, which ends when both have ended.
fn read_lines(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(256);
    if let Some(stdout) = child.stdout.take() {
        pump(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        pump(stderr, sender);
    }
    receiver
}

fn pump(source: impl Read + Send + 'static, sender: mpsc::SyncSender<String>) {
    thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
}

fn indent(lines: &VecDeque<String>) -> String {
    lines
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The command as a user would type it.
pub(crate) fn display(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|arg| without_login(&arg.to_string_lossy())),
    );
    words.join(" ")
}

/// An argument without what it says of a proxy, which may be a password.
fn without_login(argument: &str) -> String {
    match argument.split_once('=') {
        Some((name, _)) if name.ends_with("_proxy") => format!("{name}=…"),
        _ => argument.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn failure_repeats_what_the_program_said() {
        let error = quiet(
            &mut sh("echo no such disk >&2; exit 3"),
            Duration::from_secs(10),
        )
        .unwrap_err();
        assert!(error.to_string().contains("no such disk"), "{error}");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn missing_program_is_named() {
        let error = quiet(
            &mut Command::new("no-such-program-here"),
            Duration::from_secs(10),
        )
        .unwrap_err();
        assert!(
            error.to_string().contains("no-such-program-here"),
            "{error}"
        );
    }

    #[test]
    fn program_that_must_not_be_left_half_done_may_finish() {
        let mut steps = sh("for step in 1 2 3; do echo $step; sleep 0.1; done; exit 3");
        let error = quiet_to_the_end(&mut steps, Duration::from_millis(1)).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn password_of_a_proxy_is_not_shown() {
        let mut command = Command::new("sudo");
        command.args(["https_proxy=http://me:secret@proxy", "apt-get", "a=b"]);
        assert_eq!(display(&command), "sudo https_proxy=… apt-get a=b");
    }

    #[test]
    fn program_past_its_limit_is_ended() {
        let started = Instant::now();
        let error = quiet(
            &mut sh("while :; do echo busy; done"),
            Duration::from_millis(200),
        )
        .unwrap_err();
        assert!(error.to_string().contains("took longer"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
