//! `wash secrets-backend serve`.

use std::path::PathBuf;

use lattice_claims::{CurveKey, PublicKey};
use lattice_core::subject::secrets::SECRETS_BUCKET;
use lattice_secrets::{Backend, BackendConfig, ServeError};

use super::BackendArgs;
use super::keys::KeySource;
use crate::connection::connect_for_long;
use crate::error::{CliError, Code, Result};
use crate::output::{Output, eprint_line};
use crate::signals::Signals;

/// The most versions that a bucket keeps of one key.
const MOST_VERSIONS: i64 = 64;

#[derive(clap::Args)]
// Other commands need no domain, and only take the flag for old scripts.
#[command(mut_arg("js_domain", |arg| {
    arg.hide(false).help("JetStream domain of the buckets, if not that of the server")
}))]
pub(crate) struct Args {
    /// Bucket for the values
    #[arg(long, default_value = SECRETS_BUCKET, env = "SECRETS_BUCKET")]
    secrets_bucket: String,
    /// Versions of a value that are kept
    #[arg(long, default_value_t = MOST_VERSIONS, env = "MAX_SECRET_HISTORY",
        value_parser = clap::value_parser!(i64).range(1..=MOST_VERSIONS))]
    max_secret_history: i64,
    /// Seed of the curve key (`SX…`) that values are sealed with at rest; better name a file
    #[arg(long, env = "ENCRYPTION_XKEY_SEED", hide_env_values = true)]
    encryption_xkey_seed: Option<String>,
    /// File with that seed; it is made when it is not there
    #[arg(
        long,
        env = "ENCRYPTION_XKEY_FILE",
        value_name = "FILE",
        required_unless_present = "encryption_xkey_seed"
    )]
    encryption_xkey_file: Option<PathBuf>,
    /// Seed of the curve key that requests are sealed for; made up when none is named. Backends of
    /// one name need the same
    #[arg(long, env = "TRANSIT_XKEY_SEED", hide_env_values = true)]
    transit_xkey_seed: Option<String>,
    /// File with that seed; it is made when it is not there
    #[arg(long, env = "TRANSIT_XKEY_FILE", value_name = "FILE")]
    transit_xkey_file: Option<PathBuf>,
    /// Public key of an account whose signature on components and providers counts; that of anybody
    /// when none is named. May be repeated
    #[arg(long = "trusted-issuer", value_name = "A…")]
    trusted_issuers: Vec<String>,
    /// Give secrets to tokens of their component or provider whoever has signed them, and not only to
    /// those of the issuer who was given any first and of those whom `add-mapping --issuer` names
    #[arg(long)]
    any_issuer: bool,
    /// Id of a host that may ask, which has to prove that it is the one; any host when none is
    /// named. May be repeated
    #[arg(long = "trusted-host", value_name = "N…")]
    trusted_hosts: Vec<String>,
    #[command(flatten)]
    backend: BackendArgs,
}

impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Args")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

pub(super) async fn run(args: Args) -> Result<Output> {
    let mut signals = Signals::listen()?;
    lattice_host::cli::log_to_stderr();
    if let Some(warning) = lattice_host::cli::warn_of_secrets(std::env::args_os()) {
        crate::output::eprint_line(&format!("note: {warning}"));
    }
    let (encryption, transit) = args.keys()?;
    let trusted_issuers = public_keys(&args.trusted_issuers)?;
    let trusted_hosts = public_keys(&args.trusted_hosts)?;
    let settings = args.backend.connection.given().settle()?;
    let (nats, _rotation) = connect_for_long(&settings).await?;
    let js_domain = domain(args.backend.connection.js_domain);
    if let Some(domain) = &js_domain {
        eprint_line(&format!("the buckets are in JetStream domain `{domain}`"));
    }
    let (name, topic) = (args.backend.name, args.backend.subject_base);
    let config = BackendConfig {
        topic: topic.clone(),
        name: name.clone(),
        js_domain,
        bucket: args.secrets_bucket,
        history: args.max_secret_history,
        transit,
        encryption,
        trusted_issuers,
        any_issuer: args.any_issuer,
        trusted_hosts,
    };
    let key = config.transit.public_key();
    let backend = Backend::start(nats, config).await;
    let backend = backend.map_err(|error| explain(&error))?;
    eprint_line(&format!(
        "secrets backend `{name}` answers; start hosts with `--secrets-topic {topic}`; its key is \
         {key} (`--secrets-backend-key {name}={key}`)"
    ));
    let mut stopped = None;
    let stop = async {
        stopped = Some(signals.recv().await);
    };
    backend.run(stop).await;
    match stopped {
        Some(stop) => Ok(Output::silent().exit_with(stop.exit())),
        None => Err(CliError::new(
            Code::NatsUnreachable,
            "the subscription has ended",
        )),
    }
}

impl Args {
    fn keys(&self) -> Result<(CurveKey, CurveKey)> {
        let encryption = KeySource {
            what: "encryption",
            seed: self.encryption_xkey_seed.as_ref(),
            file: self.encryption_xkey_file.as_ref(),
        };
        let transit = KeySource {
            what: "transit",
            seed: self.transit_xkey_seed.as_ref(),
            file: self.transit_xkey_file.as_ref(),
        };
        let missing = || {
            CliError::new(Code::Usage, "there is no key to seal values with")
                .hint("name a file with `--encryption-xkey-file`; it is made when it is not there")
        };
        let encryption = encryption.read()?.ok_or_else(missing)?;
        let transit = transit.read()?.unwrap_or_else(CurveKey::generate);
        Ok((encryption, transit))
    }
}

/// The domain of the buckets. As for hosts it is not that of a context: the buckets would be others
/// where another context is chosen.
fn domain(given: Option<String>) -> Option<String> {
    given.filter(|domain| !domain.is_empty())
}

fn public_keys(texts: &[String]) -> Result<Vec<PublicKey>> {
    let keys = texts.iter().map(|text| {
        PublicKey::parse(text.trim()).map_err(|error| {
            CliError::new(Code::Usage, format!("`{text}` is no public key")).caused_by(&error)
        })
    });
    keys.collect()
}

fn explain(error: &ServeError) -> CliError {
    let (code, hint) = match error {
        ServeError::Bucket(_) => (
            Code::NatsServerFailed,
            "check that JetStream is on, in the domain of `--js-domain` or WASMCLOUD_JS_DOMAIN if one \
             is named (that of a context does not count), and that the user may use the buckets",
        ),
        ServeError::Vault(_) => (
            Code::InvalidInput,
            "name the key that the values in the bucket were sealed with, or another bucket",
        ),
        _ => (
            Code::NatsAuth,
            "check that the user may subscribe to the subjects of secrets",
        ),
    };
    CliError::new(code, "could not start the secrets backend")
        .caused_by(error)
        .hint(hint)
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    #[test]
    fn the_domain_of_the_buckets_is_shown_and_taken() {
        let mut command = Args::augment_args(clap::Command::new("serve"));
        let help = command.render_help().to_string();
        assert!(help.contains("JetStream domain of the buckets"), "{help}");
        let given = "serve --encryption-xkey-file key --js-domain hub";
        let given = command.try_get_matches_from(given.split(' ')).unwrap();
        let domain = given.get_one::<String>("js_domain");
        assert_eq!(domain.map(String::as_str), Some("hub"));
    }

    #[test]
    fn a_domain_without_a_name_is_that_of_the_server() {
        assert_eq!(domain(Some(String::new())), None);
        assert_eq!(domain(Some("hub".into())).as_deref(), Some("hub"));
    }
}
