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
use lattice_store::{ConfigStore, ConfigWatch};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::send::publish;
use super::states::LinkStates;
use crate::links::LinkTable;

/// When configs that could not be read are tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The pause between telling that a link is gone and telling it anew. Old providers read the two
/// subjects side by side, so the order is only kept by the time between them.
const APART: Duration = Duration::from_millis(50);

/// What makes a link one of its kind for a provider; old records may hold links of one key to
/// several targets.
type LinkId = (LinkKey, String);

/// A link of the provider, and what the process was last told of it.
#[derive(Debug)]
struct Tracked {
    link: Link,
    source: Watched,
    target: Watched,
    told: Option<ResolvedLink>,
}

/// The configs of one end of a link, or why they cannot be had.
type Watched = Result<Vec<ConfigWatch>, String>;

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

    /// All links for the data of a new process, which counts as told of them.
    pub(crate) async fn definitions(&mut self) -> Vec<ResolvedLink> {
        self.refresh().await;
        self.unheard = Some(Unheard::default());
        let mut links = Vec::new();
        for tracked in self.tracked.values_mut() {
            tracked.told = tracked.resolve().ok();
            links.extend(tracked.told.clone());
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
        let ends = self
            .tracked
            .values_mut()
            .flat_map(|t| [&mut t.source, &mut t.target]);
        let watches: Vec<_> = ends
            .filter_map(|watched| watched.as_mut().ok())
            .flatten()
            .map(|watch| Box::pin(watch.changed()))
            .collect();
        let configs = async {
            if watches.is_empty() {
                return std::future::pending().await;
            }
            select_all(watches).await;
        };
        tokio::select! {
            // The table lives as long as the host; if it did not, nothing would change.
            changed = self.changes.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
            () = configs => {}
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
        let mut changed = Vec::new();
        for (id, tracked) in &mut self.tracked {
            match tracked.resolve() {
                Ok(resolved) if tracked.told.as_ref() != Some(&resolved) => {
                    let known = tracked.told.replace(resolved.clone()).is_some();
                    changed.push((id.clone(), tracked.link.clone(), resolved, known));
                }
                Ok(_) => {}
                Err(reason) => {
                    let failed = LinkState::Failed;
                    self.deps
                        .states
                        .set(&tracked.link, &self.id, failed, Some(reason));
                }
            }
        }
        self.replace(changed).await;
    }

    /// Tells links anew. Providers ignore a link that they have already, whatever has changed in
    /// it, so it is taken away first.
    async fn replace(&mut self, changed: Vec<(LinkId, Link, ResolvedLink, bool)>) {
        let known: Vec<_> = changed.iter().filter(|(.., known)| *known).collect();
        for (_, link, ..) in &known {
            self.tell_removed(link).await;
        }
        if !known.is_empty() {
            sleep(APART).await;
        }
        for (id, _, resolved, _) in changed {
            self.tell(&resolved).await;
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
        for resolved in told {
            self.tell(&resolved).await;
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

    async fn track(&self, link: Link, told: Option<ResolvedLink>) -> Tracked {
        let (source, target) = tokio::join!(
            self.watch(&link.source_config),
            self.watch(&link.target_config)
        );
        Tracked {
            link,
            source,
            target,
            told,
        }
    }

    async fn watch(&self, names: &[String]) -> Watched {
        let watches = names.iter().map(async |text| {
            let name = ConfigName::new(text).map_err(|error| error.to_string())?;
            if name.is_secret() {
                return Err(format!(
                    "secret store not configured, could not fetch secrets: {name}"
                ));
            }
            let watch = self.deps.configs.watch(&name).await;
            watch.map_err(|error| lattice_core::reply::message_chain(&error))
        });
        join_all(watches).await.into_iter().collect()
    }

    async fn tell(&self, link: &ResolvedLink) {
        publish(&self.deps.nats, &self.put, link).await;
    }

    async fn tell_removed(&self, link: &Link) {
        let removal = ResolvedLink::removal(link);
        publish(&self.deps.nats, &self.subjects.link_delete(), &removal).await;
    }
}

impl Tracked {
    /// Whether the watched configs are those that the link names now.
    fn is_usable_for(&self, link: &Link) -> bool {
        let readable = self.source.is_ok() && self.target.is_ok();
        readable
            && self.link.source_config == link.source_config
            && self.link.target_config == link.target_config
    }

    /// The link with its configs merged, or why it cannot be told.
    fn resolve(&self) -> Result<ResolvedLink, String> {
        let known = self.told.is_some();
        let source = merge(&self.source, known)?;
        let target = merge(&self.target, known)?;
        Ok(ResolvedLink::new(&self.link, source, target))
    }
}

/// Merges the configs of one end. A config that is deleted after the link was told counts as
/// empty; one that was never there is an error.
fn merge(watched: &Watched, known: bool) -> Result<lattice_core::StringMap, String> {
    let watches = watched.as_ref().map_err(String::clone)?;
    let mut configs = Vec::with_capacity(watches.len());
    for watch in watches {
        match watch.current() {
            Some(config) => configs.push(config),
            None if known => {}
            None => return Err(format!("Config {} does not exist", watch.name())),
        }
    }
    Ok(config::merge(configs.iter().map(AsRef::as_ref)))
}

/// What it takes to tell that a link is gone.
fn bare_link((key, target): &LinkId) -> Link {
    Link {
        source_id: key.source.as_str().to_owned(),
        target: target.clone(),
        name: key.name.as_str().to_owned(),
        wit_namespace: key.namespace.as_str().to_owned(),
        wit_package: key.package.as_str().to_owned(),
        interfaces: Vec::new(),
        source_config: Vec::new(),
        target_config: Vec::new(),
        locality: lattice_core::Locality::default(),
        status: Vec::new(),
    }
}
