//! What a provider has of the lattice.

use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lattice_core::provider::{HostData, SecretMap};
use lattice_core::subject::RpcPrefix;
use lattice_core::subject::reserved::{at_home, is_below, is_reserved};
use lattice_core::{ComponentId, LatticeName, StringMap};
use lattice_rpc::wrpc::Client;
use lattice_rpc::{Context, IncomingCall, Invocation, Limiter, Peer, ServeOptions};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::describe::Described;
use crate::error::{RunError, ServeError};
use crate::hide::hide_memory;
use crate::link::{self, ProviderLink, Unsealer};
use crate::nats::{NatsError, NatsSettings};
use crate::roads::Roads;
use crate::serving::{Server, Serving};
use crate::traced::traced;

/// How long a call may take, end to end, when neither its caller nor the host says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// The latest deadline that is accepted from a caller.
const LONGEST_DEADLINE: Duration = Duration::from_secs(600);

/// How many calls a provider serves at once. Its backend is what limits it; this only bounds
/// memory.
const CALLS_AT_ONCE: usize = 4096;
/// How many more may wait, and for how long.
const CALLS_WAITING: usize = 4096;
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// One provider process on one lattice: who it is, what it was given, and how it calls and
/// serves. Clones share everything.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lattice: LatticeName,
    id: ComponentId,
    data: HostData,
    peer: Peer,
    config: RwLock<Arc<StringMap>>,
    secrets: RwLock<Arc<SecretMap>>,
    options: ServeOptions,
    serving: Serving,
    roads: Roads,
    described: Described,
}

impl Session {
    pub(crate) fn new(mut data: HostData, peer: Peer) -> Result<Self, RunError> {
        let secrets = std::mem::take(&mut data.secrets);
        if !secrets.is_empty() {
            hide_memory();
        }
        let default_deadline = default_deadline(&data);
        let limiter = Limiter::new(CALLS_AT_ONCE, CALLS_WAITING, LONGEST_WAIT);
        Ok(Self {
            inner: Arc::new(Inner {
                lattice: LatticeName::new(&data.lattice_rpc_prefix)?,
                id: ComponentId::new(&data.provider_key)?,
                config: RwLock::new(Arc::new(data.config.clone())),
                secrets: RwLock::new(Arc::new(secrets)),
                data,
                peer,
                options: ServeOptions {
                    limiter: Arc::new(limiter),
                    default_deadline,
                    longest_deadline: LONGEST_DEADLINE,
                    relief: lattice_rpc::Relief::default(),
                    takes: None,
                },
                serving: Serving::default(),
                roads: Roads::default(),
                described: Described::default(),
            }),
        })
    }

    /// The lattice.
    #[must_use]
    pub fn lattice(&self) -> &LatticeName {
        &self.inner.lattice
    }

    /// The provider's own id.
    #[must_use]
    pub fn id(&self) -> &ComponentId {
        &self.inner.id
    }

    /// The host that started the provider; empty when it was started by hand.
    #[must_use]
    pub fn host_id(&self) -> &str {
        &self.inner.data.host_id
    }

    /// Whether the lattice is strict: what the 1.9 generation leaves open is shut unless a link says
    /// otherwise.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.inner.data.lattice_strict
    }

    /// How long a call may take, end to end, when neither its caller nor a link says: the host's
    /// time for such calls, else [`DEFAULT_DEADLINE`].
    #[must_use]
    pub fn default_deadline(&self) -> Duration {
        self.inner.options.default_deadline
    }

    /// The provider's config as it is now.
    #[must_use]
    pub fn config(&self) -> Arc<StringMap> {
        Arc::clone(&self.inner.config.read())
    }

    /// The config value called `name` in any case of its letters.
    #[must_use]
    pub fn config_value(&self, name: &str) -> Option<String> {
        link::find(&self.config(), name)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }

    /// Takes a new config over; says whether it differs.
    pub(crate) fn set_config(&self, config: StringMap) -> bool {
        let mut current = self.inner.config.write();
        if **current == config {
            return false;
        }
        *current = Arc::new(config);
        true
    }

    /// Whether the host tells this process its config where no other process listens.
    pub(crate) fn has_own_config(&self) -> bool {
        self.inner.data.lattice_own_config
    }

    /// How often the process has connected to NATS.
    pub(crate) fn connects(&self) -> u64 {
        let statistics = self.inner.peer.nats().statistics();
        statistics.connects.load(Ordering::Relaxed)
    }

    /// The provider's own secrets as they are now.
    #[must_use]
    pub fn secrets(&self) -> Arc<SecretMap> {
        Arc::clone(&self.inner.secrets.read())
    }

    /// Takes new secrets over; says whether they differ.
    pub(crate) fn set_secrets(&self, secrets: SecretMap) -> bool {
        let mut current = self.inner.secrets.write();
        if **current == secrets {
            return false;
        }
        *current = Arc::new(secrets);
        true
    }

    /// Where the lattice is and who connects to it.
    #[must_use]
    pub fn nats_settings(&self) -> NatsSettings {
        NatsSettings::of_lattice(&self.inner.data)
    }

    /// The connection of the lattice, for a provider whose backend is NATS and whose link names no
    /// other.
    ///
    /// # Errors
    ///
    /// [`NatsError::Scoped`] where the credentials of the process are for its links alone.
    pub fn nats_as_backend(&self) -> Result<&async_nats::Client, NatsError> {
        let bus = self.inner.data.lattice_bus.as_ref();
        if bus.is_some_and(|bus| bus.scoped) {
            return Err(NatsError::Scoped);
        }
        Ok(self.inner.peer.nats())
    }

    /// Whether a subject, or a pattern of subjects, reaches what the lattice and its host go by, so that
    /// no component may use it over the connection of the lattice.
    #[must_use]
    pub fn is_reserved(&self, subject: &str) -> bool {
        let (more, home) = (&self.inner.data.lattice_reserved, at_home(subject));
        is_reserved(subject, &self.inner.lattice)
            || more.iter().any(|prefix| is_below(home, prefix))
    }

    /// Tells the host of a call of `instance.function` that is refused, since its caller has no leave for
    /// what it asks. The lattice is told by an event, often enough to be noticed; the caller has its
    /// error besides.
    pub fn denied(&self, cx: &Context, instance: &str, function: &str, why: &str) {
        let operation = format!("{instance}.{function}");
        let (peer, target) = (&self.inner.peer, self.inner.id.as_str());
        peer.denied(cx, target, &operation, why);
    }

    /// The process on the lattice.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.inner.peer
    }

    pub(crate) fn unsealer(&self) -> Result<Option<Unsealer>, RunError> {
        let data = &self.inner.data;
        Unsealer::new(&data.provider_xkey_private_key, &data.host_xkey_public_key)
    }

    pub(crate) fn serving(&self) -> &Serving {
        &self.inner.serving
    }

    /// What the backends of links can do.
    pub(crate) fn described(&self) -> &Described {
        &self.inner.described
    }

    /// Counts the calls made through links.
    pub(crate) fn roads(&self) -> &Roads {
        &self.inner.roads
    }

    /// A call of `instance.function` of the entity at the other end of a link, ending at
    /// `deadline`. It takes the roads that the link allows, and is counted for `wash get links -o
    /// wide`. The template of many calls is made once, when the link is put, and cloned; see
    /// [`Invocation::until`].
    #[must_use]
    pub fn call_through(
        &self,
        link: &ProviderLink,
        instance: &str,
        function: &str,
        deadline: Instant,
    ) -> Invocation {
        self.invocation(&link.peer, link.name.as_str(), instance, function, deadline)
            .locality(link.locality)
            .roads(self.inner.roads.of(link.key()))
    }

    /// A call of `instance.function` of the entity `target` through the link `link_name`, ending
    /// at `deadline`. A provider that has the link calls with [`Session::call_through`] instead,
    /// which heeds what the link says of the way.
    #[must_use]
    pub fn invocation(
        &self,
        target: &ComponentId,
        link_name: &str,
        instance: &str,
        function: &str,
        deadline: Instant,
    ) -> Invocation {
        let subject = RpcPrefix::new(&self.inner.lattice, target).invocation(instance, function);
        Invocation::new(subject, deadline)
            .source(self.inner.id.as_str())
            .target(target.as_str())
            .link_name(link_name)
    }

    /// Calls `target` through bindings made by `wit-bindgen-wrpc`. A provider that has a link calls
    /// with [`Session::client_through`] instead.
    #[must_use]
    pub fn client(&self, target: &ComponentId) -> Client {
        Client::new(
            self.inner.peer.clone(),
            &self.inner.lattice,
            self.inner.id.clone(),
            target.clone(),
            self.default_deadline(),
        )
    }

    /// Calls the other end of a link through bindings made by `wit-bindgen-wrpc`, by the roads that
    /// the link allows. Each call still has to name the link in its context.
    #[must_use]
    pub fn client_through(&self, link: &ProviderLink) -> Client {
        let roads = self.inner.roads.of(link.key());
        self.client(&link.peer).by(link.locality, roads)
    }

    /// Serves bindings made by `wit-bindgen-wrpc`; pass what they return to [`Server::drive`].
    #[must_use]
    pub fn server(&self) -> Server {
        Server::new(self.clone())
    }

    /// Serves one function without bindings, until the provider stops. The handler begins where
    /// calls are taken in, so it must not compute for long, nor block, before it waits for something.
    ///
    /// # Errors
    ///
    /// [`ServeError::Subscribe`] when NATS refuses.
    pub async fn serve<H, F>(
        &self,
        instance: &str,
        function: &str,
        handler: H,
    ) -> Result<(), ServeError>
    where
        H: Fn(IncomingCall) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.serve_taking(None, instance, function, handler).await
    }

    /// As [`Session::serve`], for a handler that may get values of a type as they are.
    pub(crate) async fn serve_taking<H, F>(
        &self,
        takes: Option<TypeId>,
        instance: &str,
        function: &str,
        handler: H,
    ) -> Result<(), ServeError>
    where
        H: Fn(IncomingCall) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let options = ServeOptions {
            takes,
            ..self.serve_options()
        };
        self.serve_with(options, instance, function, handler).await
    }

    /// How functions are served that do not say otherwise. All share its limiter.
    #[must_use]
    pub fn serve_options(&self) -> ServeOptions {
        self.inner.options.clone()
    }

    /// As [`Session::serve`], for a function that is served in its own way.
    ///
    /// # Errors
    ///
    /// As [`Session::serve`].
    pub async fn serve_with<H, F>(
        &self,
        options: ServeOptions,
        instance: &str,
        function: &str,
        handler: H,
    ) -> Result<(), ServeError>
    where
        H: Fn(IncomingCall) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = &self.inner;
        let prefix = RpcPrefix::new(&inner.lattice, &inner.id);
        let subject = prefix.invocation(instance, function);
        let handler = traced(
            handler,
            inner.id.clone(),
            (instance.to_owned(), function.to_owned()),
        );
        let queue = prefix.queue_group();
        let handle = inner.peer.serve(&subject, queue, options, handler).await?;
        inner.serving.keep(handle);
        inner
            .serving
            .relieve(&inner.peer, &prefix, &inner.options)
            .await?;
        Ok(())
    }
}

fn default_deadline(data: &HostData) -> Duration {
    let told = data.lattice_call_timeout_ms.map(Duration::from_millis);
    told.unwrap_or(DEFAULT_DEADLINE).min(LONGEST_DEADLINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_says_of_calls_without_a_deadline_holds() {
        let after = |lattice_call_timeout_ms| {
            default_deadline(&HostData {
                lattice_call_timeout_ms,
                ..HostData::default()
            })
        };
        assert_eq!(after(None), DEFAULT_DEADLINE);
        assert_eq!(after(Some(60_000)), Duration::from_secs(60));
        assert_eq!(after(Some(u64::MAX)), LONGEST_DEADLINE);
    }
}
