//! The way to a lattice: settings, the NATS connection and what its failures mean.

use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions};

use crate::error::{CliError, Code, Result};

mod args;
mod lattice;
mod settings;

pub(crate) use args::{ConnectionArgs, RpcArgs};
pub(crate) use lattice::{Lattice, Search};
pub(crate) use settings::{Given, Settings, lattice_name};

/// The name of the client as the server shows it.
const CLIENT_NAME: &str = "wash";
/// How long connecting may take at most, whatever the timeout for answers is.
const MIN_CONNECT: Duration = Duration::from_secs(2);

/// Connects to the NATS server of the settings.
pub(crate) async fn connect(settings: &Settings) -> Result<async_nats::Client> {
    let options = options(settings).await?;
    options
        .connect(settings.url())
        .await
        .map_err(|error| explain(settings, &error))
}

async fn options(settings: &Settings) -> Result<ConnectOptions> {
    let mut options = ConnectOptions::new()
        .name(CLIENT_NAME)
        .connection_timeout(settings.timeout.max(MIN_CONNECT));
    if let Some(path) = &settings.tls_ca_file {
        if !path.is_file() {
            let text = format!("there is no certificate file `{}`", path.display());
            return Err(CliError::new(Code::FileNotFound, text));
        }
        options = options.add_root_certificates(path.clone());
    }
    if settings.tls_first {
        options = options.tls_first();
    }
    if let Some(path) = &settings.credsfile {
        return options.credentials_file(path).await.map_err(|error| {
            let text = format!("could not read the credentials file `{}`", path.display());
            CliError::new(Code::CredentialsInvalid, text).caused_by(&error)
        });
    }
    match (&settings.jwt, &settings.seed) {
        (Some(jwt), Some(seed)) => with_jwt(options, jwt, seed),
        (None, Some(seed)) => Ok(options.nkey(seed.clone())),
        (Some(_), None) => Err(CliError::new(
            Code::CredentialsInvalid,
            "a user JWT is given without its seed",
        )
        .hint("add the seed, for example with `--ctl-seed`")),
        (None, None) => Ok(options),
    }
}

fn with_jwt(options: ConnectOptions, jwt: &str, seed: &str) -> Result<ConnectOptions> {
    let pair = nkeys::KeyPair::from_seed(seed).map_err(|error| {
        CliError::new(Code::CredentialsInvalid, "the seed for NATS is not a seed").caused_by(&error)
    })?;
    let pair = std::sync::Arc::new(pair);
    Ok(options.jwt(jwt.to_owned(), move |nonce| {
        let pair = std::sync::Arc::clone(&pair);
        async move { pair.sign(&nonce).map_err(async_nats::AuthError::new) }
    }))
}

fn explain(settings: &Settings, error: &async_nats::ConnectError) -> CliError {
    let address = settings.address();
    let refused = |what: String| {
        CliError::new(Code::NatsAuth, what)
            .caused_by(error)
            .hint("give credentials, for example with `--ctl-credsfile FILE`, or name a context")
    };
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => refused(
            format!("the NATS server at {address} refused the credentials"),
        ),
        ConnectErrorKind::ServerParse => {
            let text = format!("`{}` is not an address of a NATS server", settings.host);
            CliError::new(Code::Usage, text).caused_by(error)
        }
        ConnectErrorKind::TimedOut => unreachable_server(settings).cause(format!(
            "no answer within {:?}",
            settings.timeout.max(MIN_CONNECT)
        )),
        _ => unreachable_server(settings).caused_by(error),
    }
}

fn unreachable_server(settings: &Settings) -> CliError {
    let text = format!("could not reach a NATS server at {}", settings.address());
    CliError::new(Code::NatsUnreachable, text).hint(
        "start a lattice here with `wash up -d`, or name another with `--ctl-host` or `--context`",
    )
}
