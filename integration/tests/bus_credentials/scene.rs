//! Servers with an operator and accounts, and lattices on them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use lattice_claims::nats::{Account, User, account_token, operator_token, user_token};
use lattice_claims::{KeyKind, SigningKey, epoch_seconds};
use lattice_core::provider::{HostData, SecretText};
use lattice_integration::{HostOptions, Lattice, program};
use lattice_nats::connection::Creds;
use lattice_nats_box::NatsBoxOptions;
use tempfile::TempDir;

/// How long credentials last where they are to end.
pub(crate) const SHORT: Duration = Duration::from_secs(6);
/// How long they last elsewhere.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// An account of the server, and a key that signs for its users.
pub(crate) struct Tenant {
    name: &'static str,
    key: SigningKey,
    signing: SigningKey,
}

impl Tenant {
    pub(crate) fn new(name: &'static str) -> Self {
        let [key, signing] = [(); 2].map(|()| SigningKey::generate(KeyKind::Account));
        Self { name, key, signing }
    }

    /// The seed of the key that signs for its users.
    pub(crate) fn signing_seed(&self) -> SecretText {
        self.signing.seed()
    }

    /// Has another key sign for its users; the server is to be told.
    pub(crate) fn replace_signing_key(&mut self) {
        self.signing = SigningKey::generate(KeyKind::Account);
    }

    fn token(&self, operator: &SigningKey, jetstream: bool) -> Result<String> {
        let account = Account {
            name: self.name.to_owned(),
            key: self.key.public_key(),
            signing_keys: vec![self.signing.public_key()],
            jetstream,
        };
        Ok(account_token(&account, operator)?)
    }

    /// A user who may do everything in the account, for a while or for ever.
    pub(crate) fn user(&self, life: Option<Duration>) -> Result<Creds> {
        let key = SigningKey::generate(KeyKind::User);
        let user = User {
            name: "host".to_owned(),
            key: key.public_key(),
            expires: life.map(|life| epoch_seconds() + life.as_secs()),
            ..User::default()
        };
        Ok(Creds {
            jwt: user_token(&user, &self.key)?.into(),
            seed: key.seed(),
        })
    }

    /// What tells a host to make a user for each of its provider processes.
    pub(crate) fn signs(&self, life: Duration) -> Vec<String> {
        let life = life.as_secs().to_string();
        let (seed, account) = (self.signing.seed(), self.key.public_key());
        arguments(&[
            ("--nats-account-seed", seed.expose()),
            ("--nats-account", &account),
            ("--provider-credentials-seconds", &life),
        ])
    }
}

/// A server with these accounts; the clients of the box are of the first one.
pub(crate) fn server(tenants: &[&Tenant]) -> Result<NatsBoxOptions> {
    let (operator, system) = (SigningKey::generate(KeyKind::Operator), Tenant::new("SYS"));
    let sys = system.key.public_key();
    let mut extra_config = format!(
        "operator: {}\nsystem_account: {sys}\nresolver: MEMORY\n\
         resolver_preload {{\n {sys}: {}\n",
        operator_token("op", &sys, &operator)?,
        system.token(&operator, false)?,
    );
    for tenant in tenants {
        let (key, token) = (tenant.key.public_key(), tenant.token(&operator, true)?);
        extra_config.push_str(&format!(" {key}: {token}\n"));
    }
    extra_config.push_str("}\n");
    let own = tenants[0].user(None)?;
    Ok(NatsBoxOptions {
        extra_config,
        credentials: Some(own.to_text().expose().to_owned()),
        ..NatsBoxOptions::default()
    })
}

/// Flags with their values.
pub(crate) fn arguments(given: &[(&str, &str)]) -> Vec<String> {
    let each = given.iter().flat_map(|(flag, value)| [*flag, *value]);
    each.map(str::to_owned).collect()
}

/// A host with these arguments.
pub(crate) fn host(arguments: Vec<String>) -> HostOptions {
    HostOptions {
        arguments,
        ..HostOptions::default()
    }
}

/// Writes a credentials file, in one step.
pub(crate) fn write_creds(creds: &Creds, path: &Path) -> Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, creds.to_text().expose())?;
    Ok(std::fs::rename(new, path)?)
}

/// A lattice on a server with an operator, whose host signs for the users of providers.
pub(crate) struct Guarded {
    pub(crate) lattice: Lattice,
    folder: TempDir,
}

impl Guarded {
    pub(crate) async fn start(life: Duration) -> Result<Self> {
        let tenant = Tenant::new("lattice");
        let mut guarded = Self::without_host(&[&tenant]).await?;
        guarded.add_host(&tenant, life, &[]).await?;
        Ok(guarded)
    }

    /// One whose host lets in only calls that prove who makes them, as `wash up --secure` has it.
    pub(crate) async fn strict(life: Duration) -> Result<Self> {
        let tenant = Tenant::new("lattice");
        let cluster = SigningKey::generate(KeyKind::Cluster).seed();
        let mut guarded = Self::without_host(&[&tenant]).await?;
        let strict = "--allow-legacy-peers=false";
        let more = [strict, "--cluster-seed", cluster.expose()];
        guarded.add_host(&tenant, life, &more).await?;
        Ok(guarded)
    }

    pub(crate) async fn without_host(tenants: &[&Tenant]) -> Result<Self> {
        Self::with_config(tenants, "").await
    }

    /// The same with more in the server's configuration.
    pub(crate) async fn with_config(tenants: &[&Tenant], more: &str) -> Result<Self> {
        let mut options = server(tenants)?;
        options.extra_config.push_str(more);
        Ok(Self {
            lattice: Lattice::start_with(options, 0).await?,
            folder: tempfile::tempdir()?,
        })
    }

    /// Starts a host that is a user of an account, for the lattice that the helper speaks for.
    pub(crate) async fn add_host(
        &mut self,
        tenant: &Tenant,
        life: Duration,
        more: &[&str],
    ) -> Result<()> {
        let file = self.folder.path().join(format!("{}.creds", tenant.name));
        write_creds(&tenant.user(None)?, &file)?;
        let mut all = tenant.signs(life);
        let log = self.lattice.nats.log_file();
        all.extend(arguments(&[
            ("--nats-creds", &file.display().to_string()),
            ("--nats-server-log", &log.display().to_string()),
        ]));
        all.extend(more.iter().map(|word| (*word).to_owned()));
        self.lattice.add_host(host(all)).await?;
        Ok(())
    }

    /// A program that runs a provider and leaves what it is told in the file `{name}.data`.
    fn spied_on(&self, name: &str, provider: &str) -> Result<PathBuf> {
        let (path, data) = (self.folder.path().join(name), self.data_file(name));
        let text = format!(
            "#!/bin/sh\nread -r line\nprintf '%s\\n' \"$line\" > {data}.new\n\
             /bin/mv {data}.new {data}\nprintf '%s\\n' \"$line\" | {}\n",
            program(provider)?.display(),
            data = data.display(),
        );
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    fn data_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.data"))
    }

    /// Starts a key-value store under an id; gives what its process was told.
    pub(crate) async fn store(&self, id: &str) -> Result<HostData> {
        self.store_on(0, id).await
    }

    /// The same on another host.
    pub(crate) async fn store_on(&self, host: usize, id: &str) -> Result<HostData> {
        let file = self.spied_on(id, "keyvalue-memory-provider")?;
        self.lattice.provide_file(host, id, &file, &[]).await?;
        let line = std::fs::read_to_string(self.data_file(id))?;
        let text = base64::engine::general_purpose::STANDARD.decode(line.trim())?;
        Ok(serde_json::from_slice(&text)?)
    }
}
