//! Runs one provider: gets its program, starts it, keeps it running, stops it.

use std::pin::pin;
use std::sync::Arc;

use async_nats::Subscriber;
use futures::FutureExt as _;
use lattice_claims::{CurveKey, stored_provider};
use lattice_core::ResolvedLink;
use lattice_core::provider::LinkReport;
use lattice_core::reply::message_chain;
use lattice_core::subject::ProviderSubjects;
use lattice_rpc::Expected;
use lattice_rpc::throttle::Quota;
use lattice_store::ConfigBundle;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::ProviderDeps;
use super::credentials::{Credentials, LEGACY};
use super::error::StartProviderError;
use super::health::Health;
use super::life::Life;
use super::link_publisher::{LinkPublisher, LinkPublisherDeps};
use super::listen::{next, subscribe};
use super::permission;
use super::probe::{Probe, are_several};
use super::renew::{Renewal, SHUT_OUT, Trial};
use super::report;
use super::report_filter::unreadable;
use super::report_quota::{Coming, OfCalls, PER_SECOND};
use super::resend::{Connects, Given};
use super::restart::Restarts;
use super::seal::Sealer;
use super::slot::{Shown, Slot, StopProvider};
use super::stop::{interrupt, shut_down};
use crate::artifact::{FetchError, Program, ProviderProgram};
use crate::bus_log::KnownUser;
use crate::configs;
use crate::trust::secrets::{Entity, SecretBundle};
use crate::vouch::Vouched;

/// Why a process of 1.9 is ended that others share their id with.
const WITHHELD: &str = "it may no longer have one of its links, which could only be taken from all \
                        processes with its id: it is of the 1.9 generation";
/// How many deletions of links are looked at together.
const DELETIONS: usize = 1024;

/// The owner of one provider.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) deps: Arc<ProviderDeps>,
    pub(super) slot: Arc<Slot>,
    pub(super) program: ProviderProgram,
    pub(super) config: ConfigBundle,
    pub(super) subjects: ProviderSubjects,
    /// Kept over restarts, so that hosts and providers need not agree anew on subjects.
    pub(super) xkey: Arc<CurveKey>,
    /// Who the process connects as, where that is not the host.
    pub(super) credentials: Option<Credentials>,
    /// That it is being given others.
    pub(super) renewal: Option<Renewal>,
    /// Whether the server still lets it in, where it does not answer.
    pub(super) trial: Trial,
    /// Why it goes on with what it had, though it should not.
    pub(super) unrenewed: Option<String>,
    /// Who the process that lives now is to others.
    pub(super) vouched: Option<(Vouched, Expected)>,
    pub(super) sealer: Sealer,
    pub(super) secrets: SecretBundle,
    /// What the process was given as its own, until it is heard of: it may have missed what has
    /// changed since.
    pub(super) given: Option<Given>,
    /// How often host and process had connected when the process answered last.
    pub(super) connects: Option<Connects>,
    pub(super) link_publisher: LinkPublisher,
    pub(super) restarts: Restarts,
    pub(super) announced: Announced,
    of_calls: OfCalls,
    /// Of reports about links.
    of_links: Quota,
    /// Whether the next answer that does not say whose it is may be that of another process.
    pub(super) doubtful: bool,
    /// Whose user the server means when it refuses something.
    _user: Option<KnownUser>,
    /// Tells when the token of the program expires.
    _expiry: Option<AbortOnDropHandle<()>>,
}

/// What the lattice has been told of the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    Nothing,
    Failed,
    Started,
}

/// How the life of a process ended.
#[derive(Debug)]
enum Ended {
    /// By itself.
    Exited(String),
    /// On request; the process may still be there.
    Stopped(StopProvider, Life),
}

impl Worker {
    /// Gets everything together that the process needs.
    pub(crate) async fn prepare(
        deps: Arc<ProviderDeps>,
        slot: Arc<Slot>,
        config: &[String],
    ) -> Result<Self, StartProviderError> {
        if deps.host_data.lattice_strict && is_legacy(&slot) {
            let id = slot.id.clone();
            return Err(StartProviderError::LegacyCredentials { id });
        }
        let program = fetched(&deps, &slot).await?;
        let entity = Entity::new(&slot.id, program.token.as_deref(), &slot.annotations);
        let named =
            configs::open(deps.store.configs(), &deps.secrets, config, entity.clone()).await?;
        let subjects = ProviderSubjects::new(&deps.identity.lattice, &slot.id);
        let xkey = Arc::new(CurveKey::generate());
        let sealer = Sealer::new(&deps.xkey, &xkey);
        slot.set_health_subject(subjects.health_of(&xkey.public_key()));
        let link_publisher = link_publisher(&deps, &slot, entity, &sealer, &xkey);
        let restarts = Restarts::new(deps.config);
        let credentials = credentials(&deps, &slot, &program.program, &xkey);
        let user = credentials.as_ref().map(Credentials::user);
        let user = user.map(|key| deps.users.add(&key, &slot.id));
        let of_calls = OfCalls::new(&slot.id, &deps);
        Ok(Self {
            deps,
            slot,
            program,
            // What limits a provider may stand in it.
            config: named.config.keeping(),
            subjects,
            xkey,
            credentials,
            renewal: None,
            trial: Trial::default(),
            unrenewed: None,
            vouched: None,
            sealer,
            secrets: named.secrets,
            given: None,
            connects: None,
            link_publisher,
            restarts,
            announced: Announced::Nothing,
            of_calls,
            of_links: Quota::default(),
            doubtful: false,
            _user: user,
            _expiry: None,
        })
    }

    /// Starts the provider for the first time. The lattice is told when it says that it is there.
    pub(crate) async fn start(&mut self) -> Result<Life, StartProviderError> {
        self.doubtful = self.probe().is_another_there().await;
        let life = self.spawn().await?;
        let claims = self.program.claims.as_ref();
        self.slot.set_running(Shown::of(claims));
        self._expiry = permission::expiry(&self.deps, &self.slot, claims);
        self.slot
            .set_problem(Some("it is not ready yet".to_owned()));
        Ok(life)
    }

    async fn spawn(&mut self) -> Result<Life, StartProviderError> {
        permission::ask(&self.deps, &self.slot, &self.program).await?;
        // What cleans up among temporary files may have taken it away since.
        let kept = self.program.keep().await;
        kept.map_err(|source| StartProviderError::Fetch {
            image: self.slot.image.clone(),
            source,
        })?;
        // What was on its way was for the process before.
        (self.renewal, self.unrenewed) = (None, None);
        self.trial.forget();
        self.connects = None;
        self.slot.set_legacy(false);
        self.look_at_key().await;
        let data = self.host_data().await?;
        let life = Life::begin(&self.deps, &self.program.program, data).await?;
        self.tell_config(&self.config.merged()).await;
        Ok(life)
    }

    /// Keeps the provider running until its end is wanted, and ends it.
    pub(crate) async fn supervise(mut self, first: Life) {
        let mut next = Some(first);
        let wish = loop {
            let started = Instant::now();
            let slot = Arc::clone(&self.slot);
            let life = match next.take() {
                Some(life) => Ok(life),
                // To get everything together may take long.
                None => tokio::select! {
                    biased;
                    wish = slot.stop_wanted() => break wish,
                    life = self.spawn() => life.inspect(|_| {
                        tracing::info!(provider = slot.id.as_str(), "started a provider again");
                    }),
                },
            };
            let ended = match life {
                Ok(life) => self.live(life).await,
                Err(error) => Ended::Exited(message_chain(&error)),
            };
            let why = match ended {
                Ended::Stopped(wish, life) => {
                    // The subject is that of all processes with this id, and old ones may end whoever's
                    // host has asked: a host that goes ends its own only, as one of 1.9 does.
                    if !wish.tell && self.link_publisher.is_old() && self.has_namesakes(&wish).await
                    {
                        interrupt(life, &slot, wish.deadline).await;
                    } else {
                        let own = self.subjects.health_of(&self.xkey.public_key());
                        let own = (!self.link_publisher.is_old()).then_some(own.as_str());
                        let deadline = wish.deadline;
                        shut_down(&self.deps, &self.subjects, own, life, &slot, deadline).await;
                    }
                    break wish;
                }
                Ended::Exited(why) => why,
            };
            self.not_started(|| StartProviderError::Ended(why.clone()));
            // What the process said of its links went with it.
            self.deps.states.forget_endpoint(&self.slot.id);
            let pause = self.restarts.ended_after(started.elapsed());
            self.tell_exit(&why, pause);
            tokio::select! {
                wish = self.slot.stop_wanted() => break wish,
                () = sleep(pause) => {}
            }
        };
        self.deps.states.forget_endpoint(&self.slot.id);
        if wish.tell {
            self.not_started(|| StartProviderError::Stopped);
            report::stopped(&self.deps, &self.slot);
        }
    }

    async fn has_namesakes(&self, wish: &StopProvider) -> bool {
        // The process needs some of the time for its end.
        let left = wish.deadline.saturating_duration_since(Instant::now());
        let within = self.deps.rpc_timeout.min(left / 2);
        are_several(&self.deps.nats, &self.subjects.health(), within).await
    }

    fn probe(&self) -> Probe {
        Probe {
            nats: self.deps.nats.clone(),
            host: self.deps.identity.id.clone(),
            own_subject: self.subjects.health_of(&self.xkey.public_key()),
            subject: self.subjects.health(),
            timeout: self.deps.rpc_timeout,
            interval: self.deps.config.health_interval,
            settling: self.deps.config.settling,
        }
    }

    /// Accompanies one life from its start to its end.
    async fn live(&mut self, mut life: Life) -> Ended {
        let (mut probes, _probing) = self.probe().start();
        let mut health = Health::new(self.deps.config.health_misses);
        let mut reports = subscribe(&self.deps.nats, self.subjects.link_status()).await;
        let mut deleted = subscribe(&self.deps.nats, self.subjects.link_delete()).await;
        let mut of_calls = Coming::new(&self.deps, &self.subjects, &self.xkey.public_key()).await;
        let mut renewals = self.deps.voucher.renewals();
        renewals.mark_unchanged();
        let slot = Arc::clone(&self.slot);
        let mut silence = pin!(sleep(self.deps.config.silence));
        loop {
            if self.link_publisher.has_to_end() {
                // The next is not given it.
                return self.end_early(life, WITHHELD).await;
            }
            tokio::select! {
                how = life.ended() => return Ended::Exited(how),
                wish = self.slot.stop_wanted() => return Ended::Stopped(wish, life),
                () = self.link_publisher.changed(), if self.renewal.is_none() => {
                    if let Some(wish) = wish_during(&slot, self.links_changed()).await {
                        return Ended::Stopped(wish, life);
                    }
                }
                () = Credentials::due(self.credentials.as_ref()), if self.renewal.is_none() => {
                    let mut end = None;
                    let looked = async {
                        end = self.credentials_due().await;
                    };
                    if let Some(wish) = wish_during(&slot, looked).await {
                        return Ended::Stopped(wish, life);
                    }
                    if let Some(why) = end {
                        return self.end_early(life, why).await;
                    }
                }
                is_shut_out = self.trial.done() => {
                    // It may have been heard of since.
                    if is_shut_out && health.is_silent() {
                        return self.end_early(life, SHUT_OUT).await;
                    }
                }
                done = Renewal::done(self.renewal.as_mut()) => {
                    let renewed = self.renewed(&mut health, done);
                    if let Some(wish) = wish_during(&slot, renewed).await {
                        return Ended::Stopped(wish, life);
                    }
                }
                config = self.config.changed() => self.tell_config(&config).await,
                () = self.secrets.changed() => self.tell_secrets().await,
                () = &mut silence, if self.announced != Announced::Started => self.started(),
                Some(probed) = probes.recv() => {
                    let taken_in = self.probed(&mut health, probed);
                    if let Some(wish) = wish_during(&slot, taken_in).await {
                        return Ended::Stopped(wish, life);
                    }
                }
                Some(report) = next(&mut reports) => self.reported(report),
                Some(said) = of_calls.next() => self.of_calls.tell(said),
                Some(first) = next(&mut deleted) => {
                    let gone = rest(first, &mut deleted);
                    self.link_publisher.heard_deletion(&gone);
                }
                Ok(()) = renewals.changed() => self.renew_identity_tokens().await,
            }
        }
    }

    /// Ends a process for another to take its place. It may end its calls, as when it is stopped.
    async fn end_early(&self, life: Life, why: &str) -> Ended {
        let deadline = Instant::now() + self.deps.config.shutdown_delay;
        interrupt(life, &self.slot, deadline).await;
        Ended::Exited(why.to_owned())
    }

    fn reported(&mut self, payload: Result<LinkReport, serde_json::Error>) {
        // A link changes now and then. What is not taken is told with the next answer about its health.
        let most = self
            .link_publisher
            .count()
            .saturating_mul(4)
            .saturating_add(PER_SECOND);
        if !self.of_links.takes(most) {
            return;
        }
        match payload {
            Ok(report) => self.reported_of(report),
            Err(error) => {
                let (provider, error) = (self.slot.id.as_str(), unreadable(&error));
                tracing::warn!(
                    provider,
                    error,
                    "ignored a link report that is not readable"
                );
            }
        }
    }
}

/// What tells the processes of a provider of links.
fn link_publisher(
    deps: &ProviderDeps,
    slot: &Slot,
    entity: Entity,
    sealer: &Sealer,
    xkey: &CurveKey,
) -> LinkPublisher {
    let link_publisher_deps = LinkPublisherDeps {
        nats: deps.nats.clone(),
        rpc_timeout: deps.rpc_timeout,
        links: Arc::clone(&deps.links),
        configs: deps.store.configs().clone(),
        states: Arc::clone(&deps.states),
        secrets: deps.secrets.clone(),
        entity,
        sealer: sealer.clone(),
    };
    let subjects = ProviderSubjects::new(&deps.identity.lattice, &slot.id);
    LinkPublisher::new(
        link_publisher_deps,
        slot.id.clone(),
        subjects,
        &xkey.public_key(),
    )
}

/// Does what may take a while, unless the end of the process is wanted meanwhile: it has little time for
/// that, which runs already.
async fn wish_during(slot: &Slot, work: impl Future<Output = ()>) -> Option<StopProvider> {
    tokio::select! {
        biased;
        wish = slot.stop_wanted() => Some(wish),
        () = work => None,
    }
}

/// The links that all processes of a provider were told are gone: the first, and those that came
/// with it. What cannot be read is for the processes to complain of.
fn rest(
    first: Result<ResolvedLink, serde_json::Error>,
    messages: &mut Option<Subscriber>,
) -> Vec<ResolvedLink> {
    let mut gone = vec![first];
    while gone.len() < DELETIONS
        && let Some(Some(more)) = next(messages).now_or_never()
    {
        gone.push(more);
    }
    gone.into_iter().flatten().collect()
}

/// Who a process connects as, where the host may sign for it.
fn credentials(
    deps: &ProviderDeps,
    slot: &Slot,
    program: &Program,
    xkey: &CurveKey,
) -> Option<Credentials> {
    // What runs inside the host has the host's connection.
    let Program::File { .. } = program else {
        return None;
    };
    let signer = Arc::clone(deps.signer.as_ref()?);
    let lattice = deps.identity.lattice.clone();
    let id = slot.id.clone();
    Some(Credentials::new(
        signer,
        lattice,
        id,
        xkey.public_key(),
        is_legacy(slot),
    ))
}

/// The program of a provider, of which the lattice is told.
async fn fetched(deps: &ProviderDeps, slot: &Slot) -> Result<ProviderProgram, StartProviderError> {
    let program = deps.images.provider(&slot.image, &deps.trust).await;
    let program = program.map_err(|error| match error {
        FetchError::Refused { image, source } => StartProviderError::Refused { image, source },
        source => StartProviderError::Fetch {
            image: slot.image.clone(),
            source,
        },
    })?;
    if let Some(claims) = &program.claims {
        deps.store.claims().put(&stored_provider(claims)).await?;
    }
    let links = deps.store.links();
    links.ensure_spec(&slot.id, slot.image_ref()).await?;
    Ok(program)
}

/// Whether a provider is started as one of the 1.x generation.
fn is_legacy(slot: &Slot) -> bool {
    let asked = slot.annotations.get(LEGACY);
    asked.is_some_and(|value| value == "true")
}
