//! The command line of a host: `lattice-host` and `wash host` are both this.

mod args;
mod copying;
mod logging;
mod markdown;
mod settings;
mod signals;
mod trust;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use lattice_core::provider::LogLevel;
use lattice_telemetry::{Service, Traces};

pub use args::{
    CtlArgs, HostArgs, ImageArgs, LaterArgs, NatsArgs, RpcArgs, RunningArgs, SecretsArgs,
    TelemetryArgs,
};
pub(crate) use copying::VARIABLE as COPYING;
pub use copying::copy_well;
pub use settings::SettingsError;
use signals::Signals;
pub use trust::{TrustArgs, TrustSettingsError};

pub use crate::trust::secrets::hide_memory;

use crate::builtin::Builtins;
use crate::config::HostConfig;
use crate::host::{Host, StartHostError, StopReason, StopRequest};

/// Why a host did not run, or ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The flags do not make a host.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The host did not start.
    #[error("could not start the host")]
    Start(#[from] StartHostError),
    /// Signals cannot be received.
    #[error("could not listen for signals")]
    Signals(#[source] io::Error),
    /// The program does not know where it is.
    #[error("could not find out which program this is")]
    Program(#[source] io::Error),
    /// The program could not write to its output.
    #[error("could not write to standard output")]
    Output(#[source] io::Error),
}

/// How long the last traces may take to be exported.
const LAST_TRACES: Duration = Duration::from_secs(2);
/// How many characters the seed of a key has.
const SEED: usize = 58;

/// The exit code for what the user can put right.
const EXIT_USER: u8 = 1;
/// The exit code for wrong flags.
const EXIT_USAGE: u8 = 2;
/// The exit code for a lattice that does not answer.
const EXIT_UNREACHABLE: u8 = 3;
/// The exit code for a fault of the program itself.
const EXIT_BUG: u8 = 70;

impl RunError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Settings(error) => Some(error.hint().to_owned()),
            Self::Start(error) => error.hint(),
            Self::Program(_) | Self::Signals(_) | Self::Output(_) => None,
        }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => EXIT_USAGE,
            Self::Start(error) if error.is_unreachable() => EXIT_UNREACHABLE,
            Self::Start(_) | Self::Output(_) => EXIT_USER,
            Self::Program(_) | Self::Signals(_) => EXIT_BUG,
        }
    }
}

/// Turns flags and the environment into the settings of a host, and names the flags that have no
/// effect in this version.
///
/// # Errors
///
/// [`SettingsError`] for values that make no sense.
pub fn configure(args: &HostArgs) -> Result<(HostConfig, Vec<String>), SettingsError> {
    // Variables that are not text cannot be labels.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    settings::settings(args, environment)
}

/// What to say to whoever has given a secret as an argument of a program that goes on, if somebody has: every user
/// of the machine can read it there. `words` are the arguments. Secrets are seeds, tokens of NATS, and passwords in
/// addresses.
pub fn warn_of_secrets(words: impl IntoIterator<Item = OsString>) -> Option<&'static str> {
    let words = words
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned());
    words.into_iter().any(|word| shows_secret(&word)).then_some(
        "a seed, token or password stands among the arguments, where every user of this machine can read it; give \
         it by its variable or by the path of a file",
    )
}

fn shows_secret(word: &str) -> bool {
    let parts = word.split_once('=').filter(|_| word.starts_with("--"));
    let (flag, value) = parts.unwrap_or((word, word));
    let is_base32 = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
    let is_seed = value.len() == SEED && value.starts_with('S') && value.bytes().all(is_base32);
    // What a token of an account says is no secret.
    let is_secret = flag.ends_with("-token") || flag.ends_with("-password");
    let is_token = flag.starts_with("--") && is_secret && flag != "--account-token";
    let has_login = value.split(',').any(|address| {
        let rest = address.split_once("://").map(|(_, rest)| rest);
        let authority = rest.and_then(|rest| rest.split(['/', '?']).next());
        authority.is_some_and(|authority| authority.contains('@'))
    });
    is_seed || is_token || has_login
}

/// Runs a host, which can have the providers `builtins` inside, until it is told to stop, by a
/// signal or from the lattice, and drains it.
///
/// Sets up logging to the standard error, unless the program has done so before.
///
/// # Errors
///
/// [`RunError`], within 10 s when NATS cannot be reached. Once the host runs, nothing that
/// happens to NATS ends it.
pub async fn run(args: HostArgs, builtins: Builtins) -> Result<(), RunError> {
    if args.help_markdown {
        return markdown::print().map_err(RunError::Output);
    }
    let (mut config, warnings) = configure(&args)?;
    config.builtins = if args.images.isolated {
        builtins.isolated(std::env::current_exe().map_err(RunError::Program)?)
    } else {
        builtins
    };
    let traces = traces(&config)?;
    logging::init(config.log_level, config.structured_logging, traces.as_ref());
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = warn_of_secrets(std::env::args_os()) {
        tracing::warn!("{warning}");
    }
    let done = run_until_told(config).await;
    if let Some(traces) = traces {
        traces.end(LAST_TRACES).await;
    }
    done
}

/// Writes logs to the standard error at the usual level, for programs that are no host. `RUST_LOG`
/// goes first. Does nothing when the program logs already.
pub fn log_to_stderr() {
    logging::init(LogLevel::Info, false, None);
}

fn traces(config: &HostConfig) -> Result<Option<Traces>, SettingsError> {
    let service = Service {
        name: "lattice-host",
        instance: &config.key.public_key(),
        lattice: config.lattice.as_str(),
    };
    Ok(Traces::start(&config.otel, &service)?)
}

async fn run_until_told(config: HostConfig) -> Result<(), RunError> {
    let mut signals = Signals::listen().map_err(RunError::Signals)?;
    let host = tokio::select! {
        host = Host::start(config) => host?,
        // Nothing runs yet that would have to be stopped in an orderly way.
        _ = signals.first() => return Ok(()),
    };
    let request = tokio::select! {
        request = host.stop_requested() => request,
        name = signals.first() => StopRequest::now(StopReason::Signal(name)),
    };
    tokio::select! {
        () = host.drain(request) => {}
        () = signals.second() => {
            tracing::warn!("second signal: ending without waiting for calls");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_whose_turn_it_is() {
        let label = RunError::Settings(SettingsError::Label { text: "x".into() });
        assert_eq!(label.exit_code(), 2);
        assert!(label.hint().unwrap().contains("--label"));
        let timeout = StartHostError::ConnectTimeout {
            purpose: "control",
            url: "nats://x:1".into(),
            within: std::time::Duration::from_secs(8),
        };
        assert_eq!(RunError::Start(timeout).exit_code(), 3);
    }

    #[test]
    fn a_secret_among_the_arguments_is_warned_of() {
        let seed = lattice_claims::SigningKey::generate(lattice_claims::KeyKind::Cluster).seed();
        let seed = seed.expose();
        let warns = |words: &[&str]| warn_of_secrets(words.iter().map(OsString::from)).is_some();
        let host_seed = format!("--host-seed={seed}");
        let shown: [&[&str]; 7] = [
            &["lattice-host", "--cluster-seed", seed],
            &["lattice-host", &host_seed],
            &["lattice-host", "--nats-token", "word"],
            &["lattice-host", "--ctl-token=word"],
            &["lattice-host", "--nats-url", "nats://me:word@shop:4222"],
            &["lattice-host", "--nats-url=nats://a:1,tls://word@b:1/x"],
            &["lattice-host", "--nats-url", "nats://me:wo=rd@shop"],
        ];
        for words in shown {
            assert!(warns(words), "{words:?}");
        }
        let hidden: [&[&str]; 4] = [
            &["lattice-host", "--cluster-seed", "/run/keys/cluster.nk"],
            &["lattice-host", "-x", "SHOP"],
            &["lattice-host", "--account-token", "eyJ0"],
            &[
                "lattice-host",
                "--nats-url",
                "nats://shop:4222",
                "--label",
                "mail=a@b",
            ],
        ];
        for words in hidden {
            assert!(!warns(words), "{words:?}");
        }
    }
}
