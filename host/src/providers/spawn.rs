//! Starts provider processes that end with this one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::error::StartProviderError;
use crate::cli::COPYING;

/// How long a process may take to read its data.
const STDIN: Duration = Duration::from_secs(10);
/// How often a program is tried that is still being written to, and the pause between.
const BUSY_ATTEMPTS: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

struct Request {
    program: PathBuf,
    arguments: Vec<String>,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Starts processes from a thread of its own.
///
/// The kernel ends a child when the *thread* that made it ends, so it must not be one of those
/// that come and go. The thread ends with the spawner.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    requests: mpsc::Sender<Request>,
}

impl Spawner {
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, queue) = mpsc::channel::<Request>();
        let runtime = Handle::current();
        std::thread::Builder::new()
            .name("provider-spawner".to_owned())
            .spawn(move || {
                let _context = runtime.enter();
                for request in queue {
                    let child = command(&request.program, &request.arguments).spawn();
                    // Nobody waits any more when this fails; the child is ended by being dropped.
                    let _unwanted = request.reply.send(child);
                }
            })?;
        Ok(Self { requests })
    }

    /// Starts a program and writes `data` to its standard input, which is closed then.
    pub(crate) async fn spawn(
        &self,
        program: &Path,
        arguments: &[String],
        data: &str,
    ) -> Result<Child, StartProviderError> {
        let mut child =
            self.child(program, arguments)
                .await
                .map_err(|source| StartProviderError::Spawn {
                    path: program.to_owned(),
                    source,
                })?;
        let Some(mut stdin) = child.stdin.take() else {
            return Err(StartProviderError::Stdin(io::ErrorKind::BrokenPipe.into()));
        };
        let write = async {
            stdin.write_all(data.as_bytes()).await?;
            stdin.shutdown().await
        };
        match timeout(STDIN, write).await {
            Ok(Ok(())) => Ok(child),
            Ok(Err(source)) => Err(StartProviderError::Stdin(source)),
            Err(_) => Err(StartProviderError::Stdin(io::ErrorKind::TimedOut.into())),
        }
    }

    /// A program that was unpacked a moment ago may still be open in a child of another start,
    /// between its fork and its exec.
    async fn child(&self, program: &Path, arguments: &[String]) -> io::Result<Child> {
        for _ in 0..BUSY_ATTEMPTS {
            match self.once(program, arguments).await {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                other => return other,
            }
        }
        self.once(program, arguments).await
    }

    async fn once(&self, program: &Path, arguments: &[String]) -> io::Result<Child> {
        let (reply, child) = oneshot::channel();
        let gone = |_| io::Error::other("the thread that starts processes has ended");
        let request = Request {
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            reply,
        };
        self.requests.send(request).map_err(|_| gone(()))?;
        child.await.map_err(|_| gone(()))?
    }
}

/// Variables that a provider process is given; all others are cleared.
fn is_passed_on(name: &str) -> bool {
    name == "RUST_LOG" || name == COPYING || name.starts_with("OTEL_")
}

fn command(program: &Path, arguments: &[String]) -> Command {
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    command.env_clear().stdin(Stdio::piped());
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed_on)));
    end_with_parent(&mut command);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

/// Has the kernel kill the process when the host ends in whatever way.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the only way to make a call between fork and exec; it makes two system calls and \
              touches no memory of the parent"
)]
fn end_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    let host = getpid();
    // SAFETY: the closure only makes system calls, which are allowed after a fork.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The host may have ended before the kernel knew of the wish.
            if getppid() == Some(host) {
                Ok(())
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut std::process::Command) {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("provider");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_process_reads_its_data_and_sees_little_of_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let text = format!(
            "#!/bin/sh\nread line\necho \"$line $HOME\" > {}\n",
            out.display()
        );
        let program = script(dir.path(), &text);
        let spawner = Spawner::start().unwrap();
        let mut child = spawner.spawn(&program, &[], "data\r\n").await.unwrap();
        assert!(child.wait().await.unwrap().success());
        assert_eq!(std::fs::read_to_string(out).unwrap(), "data\r \n");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_started_is_named() {
        let spawner = Spawner::start().unwrap();
        let error = spawner
            .spawn(Path::new("/nowhere/provider"), &[], "")
            .await
            .unwrap_err();
        assert!(matches!(error, StartProviderError::Spawn { .. }));
        assert!(error.to_string().contains("/nowhere/provider"));
    }

    #[test]
    fn telemetry_settings_are_passed_on() {
        assert!(is_passed_on("RUST_LOG") && is_passed_on("OTEL_TRACES_SAMPLER"));
        assert!(!is_passed_on("PATH") && !is_passed_on("RUST_BACKTRACE"));
    }
}
