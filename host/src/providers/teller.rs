//! Tells one provider process about its links, and keeps what it was told in step with the table.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use futures::future::{join_all, select_all};
use lattice_core::link::LinkState;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, ConfigName, Link, LinkKey, ResolvedLink, config};
use lattice_store::ConfigStore;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::seal::Sealer;
use super::send::publish;
use super::states::LinkStates;
use super::tracked::{Told, Tracked, Untold, Watched, bare_link, own_secrets};
use crate::links::LinkTable;
use crate::trust::secrets::{Entity, SecretBundle, Secrets};

/// When configs that could not be read are tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How long the data of a new process waits for the secrets of its links.
const SECRETS_WITHIN: Duration = Duration::from_secs(5);

/// The pause between telling that a link is gone and telling it anew. Old providers read the two
/// subjects side by side, so the order is only kept by the time between them.
const APART: Duration = Duration::from_millis(50);

/// What makes a link one of its kind for a provider; old records may hold links of one key to
/// several targets.
type LinkId = (LinkKey, String);

/// How certain it is that a process was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Surely,
    /// It may have been another process with the same provider id.
    Perhaps,
}

/// How many answers of which each may be another's are taken for one of the process.
const PERHAPS: u32 = 2;

/// What a process may have missed.
#[derive(Debug, Default)]
struct Unheard {
    /// Links that have changed since the process was given its data.
    changed: HashSet<LinkId>,
    answers: u32,
}

/// What a teller needs of the host.
#[derive(Debug)]
pub(crate) struct TellerDeps {
    pub(crate) nats: Client,
    pub(crate) links: Arc<LinkTable>,
    pub(crate) configs: ConfigStore,
    pub(crate) states: Arc<LinkStates>,
    pub(crate) secrets: Secrets,
    /// For whom the secrets of links are asked.
    pub(crate) entity: Entity,
    /// Seals them for the process.
    pub(crate) sealer: Sealer,
}

/// Tells one provider about its links.
///
/// It compares what should be with what was told, whenever something may have changed. So nothing
/// depends on every change being seen one by one, and a changed config reaches the provider like
/// a changed link.
#[derive(Debug)]
pub(crate) struct Teller {
    deps: TellerDeps,
    id: ComponentId,
    subjects: ProviderSubjects,
    put: String,
    changes: watch::Receiver<u64>,
    tracked: HashMap<LinkId, Tracked>,
    /// Until the process has been heard of: it may not listen yet.
    unheard: Option<Unheard>,
    retry_at: Option<Instant>,
}

impl Teller {
    pub(crate) fn new(
        deps: TellerDeps,
        id: ComponentId,
        subjects: ProviderSubjects,
        xkey_public: &str,
    ) -> Self {
        Self {
            changes: deps.links.changes(),
            put: subjects.link_put_sealed(xkey_public),
            deps,
            id,
            subjects,
            tracked: HashMap::new(),
            unheard: None,
            retry_at: None,
        }
    }

    /// All links for the data of a new process, which counts as told of them. Those whose secrets
    /// are not there soon are told when they are.
    pub(crate) async fn definitions(&mut self) -> Vec<ResolvedLink> {
        self.refresh().await;
        self.unheard = Some(Unheard::default());
        let by = Instant::now() + SECRETS_WITHIN;
        let secrets = self.tracked.values_mut().map(|t| t.secrets.ready(by));
        join_all(secrets).await;
        let mut links = Vec::new();
        for tracked in self.tracked.values_mut() {
            tracked.told = tracked.resolve(&self.id).ok();
            let told = tracked.told.as_ref();
            links.extend(told.and_then(|told| told.message(&self.id, &self.deps.sealer)));
        }
        if self.tracked.values().any(|tracked| tracked.told.is_none()) {
            // Why is told to the lattice by the next comparison.
            self.retry_at = Some(Instant::now());
        }
        links
    }

    /// Waits until something may have changed.
    pub(crate) async fn changed(&mut self) {
        let retry = self.retry_at;
        let retry = async {
            match retry {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let changes: Vec<_> = self
            .tracked
            .values_mut()
            .flat_map(Tracked::changes)
            .collect();
        let contents = async {
            if changes.is_empty() {
                return std::future::pending().await;
            }
            select_all(changes).await;
        };
        tokio::select! {
            // The table lives as long as the host; if it did not, nothing would change.
            changed = self.changes.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
            () = contents => {}
            () = retry => {}
        }
    }

    /// Tells the provider what has changed.
    pub(crate) async fn sync(&mut self) {
        for (id, tracked) in self.refresh().await {
            self.deps.states.forget(&id.0, &self.id);
            if tracked.told.is_some() {
                self.tell_removed(&tracked.link).await;
                self.note(id);
            }
        }
        let (mut changed, mut withdrawn) = (Vec::new(), Vec::new());
        for (id, tracked) in &mut self.tracked {
            let reason = match tracked.resolve(&self.id) {
                Ok(now) if tracked.told.as_ref() != Some(&now) => {
                    let known = tracked.told.replace(now.clone()).is_some();
                    if std::mem::take(&mut tracked.is_refused) {
                        let (link, pending) = (&tracked.link, LinkState::Pending);
                        self.deps.states.set(link, &self.id, pending, None);
                    }
                    changed.push((id.clone(), tracked.link.clone(), now, known));
                    continue;
                }
                Ok(_) | Err(Untold::Pending) => continue,
                Err(Untold::Configs(reason)) => reason,
                // Whoever may no longer have a secret does not go on with it.
                Err(Untold::Refused(reason)) => {
                    let told = tracked.told.take();
                    withdrawn.extend(told.map(|_| (id.clone(), tracked.link.clone())));
                    reason
                }
            };
            tracked.is_refused = true;
            let (link, failed) = (&tracked.link, LinkState::Failed);
            self.deps.states.set(link, &self.id, failed, Some(reason));
        }
        for (id, link) in withdrawn {
            self.tell_removed(&link).await;
            self.note(id);
        }
        self.replace(changed).await;
    }

    /// Tells links anew. Providers ignore a link that they have already, whatever has changed in
    /// it, so it is taken away first.
    async fn replace(&mut self, changed: Vec<(LinkId, Link, Told, bool)>) {
        let known: Vec<_> = changed.iter().filter(|(.., known)| *known).collect();
        for (_, link, ..) in &known {
            self.tell_removed(link).await;
        }
        if !known.is_empty() {
            sleep(APART).await;
        }
        for (id, _, told, _) in changed {
            self.tell(&told).await;
            self.note(id);
        }
    }

    /// The process has been heard of: what it may have missed is said again.
    pub(crate) async fn heard(&mut self, heard: Heard) {
        let Some(unheard) = &mut self.unheard else {
            return;
        };
        unheard.answers += 1;
        let changed: Vec<_> = unheard.changed.drain().collect();
        if heard == Heard::Surely || unheard.answers >= PERHAPS {
            self.unheard = None;
        }
        for id in &changed {
            tracing::debug!(link = %id.0, target = id.1, "telling a change again");
            self.tell_removed(&bare_link(id)).await;
        }
        if !changed.is_empty() {
            sleep(APART).await;
        }
        let told: Vec<_> = self
            .tracked
            .values()
            .filter_map(|tracked| tracked.told.clone())
            .collect();
        for told in told {
            self.tell(&told).await;
        }
    }

    fn note(&mut self, id: LinkId) {
        if let Some(unheard) = &mut self.unheard {
            unheard.changed.insert(id);
        }
    }

    /// Takes over the links as they are now, and returns those that are gone.
    async fn refresh(&mut self) -> HashMap<LinkId, Tracked> {
        self.changes.mark_unchanged();
        let mut gone = std::mem::take(&mut self.tracked);
        let mut failed = false;
        for link in self.deps.links.of(&self.id) {
            // The table has warned of what cannot be a link.
            let Ok(key) = link.check() else { continue };
            let id = (key, link.target.clone());
            let before = gone.remove(&id);
            let tracked = match before {
                Some(before) if before.is_usable_for(&link) => Tracked { link, ..before },
                before => {
                    let told = before.and_then(|before| before.told);
                    self.track(link, told).await
                }
            };
            failed |= tracked.source.is_err() || tracked.target.is_err();
            if let Entry::Vacant(place) = self.tracked.entry(id) {
                place.insert(tracked);
            }
        }
        self.retry_at = failed.then(|| Instant::now() + RETRY);
        gone
    }

    async fn track(&self, link: Link, told: Option<Told>) -> Tracked {
        let (source, target) = tokio::join!(
            self.watch(&link.source_config),
            self.watch(&link.target_config)
        );
        let names = own_secrets(&self.id, &link);
        let entity = self.deps.entity.clone();
        Tracked {
            link,
            source,
            target,
            secrets: SecretBundle::follow(&self.deps.secrets, names, entity),
            told,
            is_refused: false,
        }
    }

    async fn watch(&self, names: &[String]) -> Watched {
        // Secrets are not read here: each end learns its own only.
        let names = names.iter().filter(|name| !config::is_secret_name(name));
        let watches = names.map(async |text| {
            let name = ConfigName::new(text).map_err(|error| error.to_string())?;
            let watch = self.deps.configs.watch(&name).await;
            watch.map_err(|error| lattice_core::reply::message_chain(&error))
        });
        join_all(watches).await.into_iter().collect()
    }

    async fn tell(&self, told: &Told) {
        if let Some(message) = told.message(&self.id, &self.deps.sealer) {
            publish(&self.deps.nats, &self.put, &message).await;
        }
    }

    async fn tell_removed(&self, link: &Link) {
        let removal = ResolvedLink::removal(link);
        publish(&self.deps.nats, &self.subjects.link_delete(), &removal).await;
    }
}
