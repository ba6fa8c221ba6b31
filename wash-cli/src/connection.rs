//! The way to a lattice: settings, the NATS connection and what its failures mean.

use std::io::ErrorKind;
use std::time::Duration;

use async_nats::ConnectErrorKind;
use lattice_nats::connection::{ConnectionError, Prepared, Rotation, TlsError};

use crate::error::{CliError, Code, Result};

mod address;
mod args;
mod gone;
mod greeting;
mod lattice;
mod settings;

pub(crate) use address::{is_here, leads_to_own, said};
pub(crate) use args::{ConnectionArgs, RpcArgs};
pub(crate) use gone::Gone;
#[cfg(test)]
pub(crate) use greeting::greeter;
pub(crate) use greeting::{GREETING, reach};
pub(crate) use lattice::{Lattice, Search};
pub(crate) use settings::{DEFAULT_HOST, Given, Settings, Side, lattice_name};

/// The name of the client as the server shows it.
const CLIENT_NAME: &str = "wash";
/// How long connecting may take at most, whatever the timeout for answers is.
const MIN_CONNECT: Duration = Duration::from_secs(2);

/// Connects to the NATS server of the settings.
pub(crate) async fn connect(settings: &Settings) -> Result<async_nats::Client> {
    Ok(open(settings).await?.0)
}

/// The same for a command that goes on until it is ended: as long as the second part is held, the
/// connection is made again when its files change.
pub(crate) async fn connect_for_long(
    settings: &Settings,
) -> Result<(async_nats::Client, Option<Rotation>)> {
    let (client, prepared) = open(settings).await?;
    let rotation = prepared.rotation(&client);
    Ok((client, rotation))
}

async fn open(settings: &Settings) -> Result<(async_nats::Client, Prepared)> {
    let connection = settings.connection();
    let prepared = connection.prepare().map_err(|error| unusable(&error))?;
    let options = prepared
        .options()
        .name(CLIENT_NAME)
        .connection_timeout(settings.timeout.max(MIN_CONNECT));
    let connected = options.connect(prepared.servers()).await;
    match connected {
        Ok(client) => Ok((client, prepared)),
        Err(error) => Err(explain(settings, &error)),
    }
}

/// What is wrong with the settings before anybody is asked.
fn unusable(error: &ConnectionError) -> CliError {
    let code = match error {
        ConnectionError::Address { .. } | ConnectionError::NoServer => Code::Usage,
        ConnectionError::Tls(TlsError::Certificates { .. } | TlsError::Key { .. }) => {
            Code::FileNotFound
        }
        ConnectionError::ReadCreds { source, .. } if source.kind() == ErrorKind::NotFound => {
            Code::FileNotFound
        }
        _ => Code::CredentialsInvalid,
    };
    let told = CliError::new(code, error.to_string());
    let told = match std::error::Error::source(error) {
        Some(cause) => told.caused_by(cause),
        None => told,
    };
    told.hint(match error {
        ConnectionError::NoSeed => "add the seed, for example with `--ctl-seed`",
        error => error.hint(),
    })
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
            let text = format!("`{address}` is not an address of a NATS server");
            CliError::new(Code::Usage, text).caused_by(error)
        }
        ConnectErrorKind::TimedOut => unreachable_server(settings).cause(format!(
            "no answer within {:?}",
            settings.timeout.max(MIN_CONNECT)
        )),
        _ => {
            let failure = unreachable_server(settings).caused_by(error);
            let unknown = failure
                .causes()
                .iter()
                .any(|it| it.contains("UnknownIssuer"));
            match unknown {
                true => failure.hint(
                    "name the certificate of the authority that signed the server's with \
                     `--ctl-tls-ca-file FILE`, or `--rpc-tls-ca-file FILE` for `wash call`",
                ),
                false => failure,
            }
        }
    }
}

fn unreachable_server(settings: &Settings) -> CliError {
    let text = format!("could not reach a NATS server at {}", settings.address());
    CliError::new(Code::NatsUnreachable, text).hint(
        "start a lattice here with `wash up -d`, or name another with `--ctl-host` or `--context`",
    )
}
