//! The store of one lattice.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::ContextBuilder;
use lattice_core::subject::store::{code_bucket, config_bucket, lattice_bucket, status_bucket};
use lattice_core::{HostId, LatticeName, Link};
use lattice_nats::NewBucket;

use crate::bucket::{Bucket, Limits};
use crate::claims::ClaimsStore;
use crate::code::{CodeBucket, CodeOptions};
use crate::configs::ConfigStore;
use crate::error::StoreError;
use crate::lattice_watch::LatticeWatch;
use crate::links::{LinkStore, PutLinkError};
use crate::reporter::StatusReporter;
use crate::status::StatusStore;

/// How the store is reached, and what missing buckets get.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The JetStream domain, if not that of the server.
    pub js_domain: Option<String>,
    /// Replicas of buckets that this process creates; 0 leaves it to the server.
    pub replicas: usize,
    /// How long to wait for one answer of JetStream.
    pub request_timeout: Duration,
    /// How long to try to write a record.
    pub write_deadline: Duration,
    /// How long a link state is kept that its host does not write again.
    pub status_max_age: Duration,
    /// How long compiled code is kept after it was written.
    pub code_max_age: Duration,
    /// How many bytes of compiled code are kept.
    pub code_max_bytes: u64,
    /// How long writing one piece of compiled code may take.
    pub code_write_deadline: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            js_domain: None,
            replicas: 0,
            request_timeout: Duration::from_secs(2),
            write_deadline: Duration::from_secs(5),
            status_max_age: Duration::from_secs(15 * 60),
            // Components that are in use get new versions, and hosts new compilers, sooner.
            code_max_age: Duration::from_secs(30 * 24 * 3600),
            // Some two hundred components of a megabyte each. JetStream sets it aside.
            code_max_bytes: 512 << 20,
            code_write_deadline: Duration::from_secs(60),
        }
    }
}

/// The state of one lattice in JetStream. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LatticeStore {
    links: LinkStore,
    claims: ClaimsStore,
    configs: ConfigStore,
    status: StatusStore,
    status_max_age: Duration,
    code: CodeBucket,
}

impl LatticeStore {
    /// Opens the buckets of a lattice and creates those that are missing.
    ///
    /// The buckets of link states and of compiled code are opened when they are first used,
    /// because a lattice works without them.
    ///
    /// # Errors
    ///
    /// Fails when JetStream does not answer or a bucket can neither be opened nor created.
    pub async fn open(
        nats: async_nats::Client,
        lattice: &LatticeName,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let js = context(nats.clone(), &options);
        let limits = Limits {
            request: options.request_timeout,
            write: options.write_deadline,
        };
        let bucket = |name: String, max_age: Duration| {
            let new = NewBucket {
                name,
                replicas: options.replicas,
                max_age,
                ..NewBucket::default()
            };
            Arc::new(Bucket::new(nats.clone(), js.clone(), new, limits.clone()))
        };
        let data = bucket(lattice_bucket(lattice), Duration::ZERO);
        let configs = bucket(config_bucket(lattice), Duration::ZERO);
        let status = bucket(status_bucket(lattice), options.status_max_age);
        let code = CodeOptions {
            bucket: code_bucket(lattice),
            replicas: options.replicas,
            max_age: options.code_max_age,
            max_bytes: options.code_max_bytes,
            request: options.request_timeout,
            write: options.code_write_deadline,
        };
        data.open().await?;
        configs.open().await?;
        Ok(Self {
            links: LinkStore::new(Arc::clone(&data)),
            claims: ClaimsStore::new(data),
            configs: ConfigStore::new(configs),
            status: StatusStore::new(status),
            status_max_age: options.status_max_age,
            code: CodeBucket::new(js, code),
        })
    }

    /// Specs and links.
    #[must_use]
    pub fn links(&self) -> &LinkStore {
        &self.links
    }

    /// Claims.
    #[must_use]
    pub fn claims(&self) -> &ClaimsStore {
        &self.claims
    }

    /// Configs and secret references.
    #[must_use]
    pub fn configs(&self) -> &ConfigStore {
        &self.configs
    }

    /// The states of links.
    #[must_use]
    pub fn status(&self) -> &StatusStore {
        &self.status
    }

    /// Compiled code.
    #[must_use]
    pub fn code(&self) -> &CodeBucket {
        &self.code
    }

    /// Starts to report the link states of a host.
    #[must_use]
    pub fn reporter(&self, host: HostId) -> StatusReporter {
        // Three chances before a record is too old.
        StatusReporter::start(self.status.clone(), host, self.status_max_age / 3)
    }

    /// Starts a watch over specs and claims.
    #[must_use]
    pub fn watch(&self) -> LatticeWatch {
        self.links.watch()
    }

    /// How many records of specs and claims watches have read so far; tells a first state that is long
    /// from one that does not come.
    #[must_use]
    pub fn records_read(&self) -> u64 {
        self.links.records_read()
    }

    /// Checks a link and the configs it names, and stores it in the spec of its source. Returns
    /// the link it took the place of.
    ///
    /// # Errors
    ///
    /// See [`PutLinkError`].
    pub async fn put_link(&self, link: &Link) -> Result<Option<Link>, PutLinkError> {
        link.check()?;
        link.check_rules()?;
        self.configs.check(link.config_names()).await?;
        self.links.put(link).await
    }
}

fn context(nats: async_nats::Client, options: &StoreOptions) -> jetstream::Context {
    let (request, write) = (options.request_timeout, options.write_deadline);
    match &options.js_domain {
        Some(domain) => ContextBuilder::new()
            .domain(domain)
            .timeout(request)
            .ack_timeout(write)
            .build(nats),
        None => ContextBuilder::new()
            .timeout(request)
            .ack_timeout(write)
            .build(nats),
    }
}
