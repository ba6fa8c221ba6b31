//! Tells one provider process about its links, and keeps what it was told in step with the table.

mod removal;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use futures::future::{join_all, select_all};
use lattice_core::link::LinkState;
use lattice_core::provider::LinkReport;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, ConfigName, Link, LinkKey, ResolvedLink, config};
use lattice_store::ConfigStore;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::delivery::{Confidence, Generation, MissedUpdates, Recent};
use super::seal::Sealer;
use super::send::publish;
use super::states::LinkStates;
use super::tracked_link::{Told, TrackedLink, Untold, Watched, bare_link, own_secrets};
use crate::links::LinkTable;
use crate::trust::secrets::{Entity, SecretBundle, Secrets};
use removal::{ReportedGone, UnreportedRemoval};

/// When configs that could not be read are tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How long the data of a new process waits for the secrets of its links.
const SECRETS_WITHIN: Duration = Duration::from_secs(5);

/// The pause between telling that a link is gone and telling it anew, and between telling a link and
/// that it is gone. Providers read the two subjects side by side, so the order is only kept by the
/// time between them.
const APART: Duration = Duration::from_millis(50);

/// What makes a link one of its kind for a provider; old records may hold links of one key to
/// several targets.
pub(super) type LinkId = (LinkKey, String);

fn id_of(link: &Link) -> Option<LinkId> {
    Some((link.check().ok()?, link.target.clone()))
}

/// How many answers of which each may be another's are taken for one of the process.
const PERHAPS: u32 = 2;

/// What a link publisher needs of the host.
#[derive(Debug)]
pub(crate) struct LinkPublisherDeps {
    pub(crate) nats: Client,
    /// How long processes may take to answer.
    pub(crate) rpc_timeout: Duration,
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
pub(crate) struct LinkPublisher {
    deps: LinkPublisherDeps,
    id: ComponentId,
    subjects: ProviderSubjects,
    put: String,
    delete: String,
    generation: Generation,
    changes: watch::Receiver<u64>,
    tracked: HashMap<LinkId, TrackedLink>,
    /// Links that the credentials of the process have no room for.
    left_out: HashSet<LinkId>,
    /// Until the process has been heard of: it may not listen yet.
    unheard: Option<MissedUpdates>,
    recent: Recent,
    retry_at: Option<Instant>,
    /// When the process was last told a link.
    told_at: Option<Instant>,
    /// When it was last told that one is gone, by whomever.
    removed_at: Option<Instant>,
    /// When this host has last told all processes that a link is gone.
    own_reports: HashMap<LinkId, Instant>,
    /// In the order in which they have left.
    unreported: Vec<UnreportedRemoval>,
    /// Links that all processes were told are gone, and that the table still has.
    reported_gone: HashMap<LinkId, ReportedGone>,
    /// Whether the process cannot be told to do without a link that it may no longer have.
    has_to_end: bool,
}

impl LinkPublisher {
    pub(crate) fn new(
        deps: LinkPublisherDeps,
        id: ComponentId,
        subjects: ProviderSubjects,
        xkey_public: &str,
    ) -> Self {
        Self {
            changes: deps.links.changes(),
            put: subjects.link_put_sealed(xkey_public),
            delete: subjects.link_delete_of(xkey_public),
            generation: Generation::Unknown,
            deps,
            id,
            subjects,
            tracked: HashMap::new(),
            left_out: HashSet::new(),
            unheard: None,
            recent: Recent::default(),
            retry_at: None,
            told_at: None,
            removed_at: None,
            own_reports: HashMap::new(),
            unreported: Vec::new(),
            reported_gone: HashMap::new(),
            has_to_end: false,
        }
    }

    /// Has these links fail, as the credentials of the process have no room for them.
    pub(crate) fn leave_out(&mut self, links: &[Link]) {
        self.left_out = links.iter().filter_map(id_of).collect();
    }

    /// All links for the data of a new process, which counts as told of them. Those whose secrets
    /// are not there soon are told when they are.
    pub(crate) async fn definitions(&mut self) -> Vec<ResolvedLink> {
        self.refresh().await;
        self.unheard = Some(MissedUpdates::default());
        self.recent = Recent::default();
        self.generation = Generation::Unknown;
        self.unreported.clear();
        self.reported_gone.clear();
        self.has_to_end = false;
        let by = Instant::now() + SECRETS_WITHIN;
        let secrets = self.tracked.values_mut().map(|t| t.secrets.ready(by));
        join_all(secrets).await;
        let mut links = Vec::new();
        for id in self.in_order() {
            let Some(tracked) = self.tracked.get_mut(&id) else {
                continue;
            };
            tracked.told = tracked.resolve(&self.id).ok();
            tracked.is_withdrawn = false;
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
        let left_at = self.unreported.first().map(|left| left.by);
        let again_at = self
            .reported_gone
            .values()
            .map(|reported| reported.by)
            .min();
        let retry = [self.retry_at, left_at, again_at];
        let retry = retry.into_iter().flatten().min();
        let retry = async {
            match retry {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let changes: Vec<_> = self
            .tracked
            .values_mut()
            .flat_map(TrackedLink::changes)
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
            self.link_left_table(id, tracked);
        }
        let (mut changed, mut withdrawn) = (Vec::new(), Vec::new());
        for id in self.in_order() {
            let Some(tracked) = self.tracked.get_mut(&id) else {
                continue;
            };
            let reason = match tracked.resolve(&self.id) {
                Ok(now) if tracked.told.as_ref() != Some(&now) => {
                    let known = tracked.told.replace(now.clone()).is_some();
                    tracked.is_withdrawn = false;
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
                    tracked.is_withdrawn |= told.is_some();
                    withdrawn.extend(told.map(|_| (id.clone(), tracked.link.clone())));
                    reason
                }
            };
            tracked.is_refused = true;
            let (link, failed) = (&tracked.link, LinkState::Failed);
            self.deps.states.set(link, &self.id, failed, Some(reason));
        }
        self.withdraw(withdrawn).await;
        self.replace(changed).await;
        self.report_overdue_removals().await;
        self.retell_present_links().await;
    }

    /// Tells links anew.
    async fn replace(&mut self, changed: Vec<(LinkId, Link, Told, bool)>) {
        let coming: Vec<_> = changed.iter().map(|(id, ..)| id).collect();
        self.take_displaced(&coming).await;
        let known = changed.iter();
        let known = known.filter(|(id, .., known)| *known || self.is_unreported(id));
        let known: Vec<_> = known.map(|(_, link, ..)| link).collect();
        self.remove_before_retelling(&known).await;
        for (id, _, told, _) in changed {
            self.unreported.retain(|left| left.id != id);
            self.reported_gone.remove(&id);
            self.tell(&told).await;
            self.note(id);
        }
    }

    /// The links that the process was told and that are still what the table holds. What the table
    /// has lost since the last comparison must not be told again.
    fn standing(&self, wanted: impl Fn(&LinkId) -> bool) -> Vec<Told> {
        let links = self.deps.links.of(&self.id).into_iter();
        let standing = links.filter_map(|link| {
            let id = id_of(&link)?;
            let tracked = self.tracked.get(&id).filter(|known| known.link == link)?;
            wanted(&id).then(|| tracked.told.clone())?
        });
        standing.collect()
    }

    /// The process has been heard of, which tells of which generation it is.
    pub(crate) fn meet(&mut self, heard: Confidence) {
        self.generation = match heard {
            Confidence::Surely => Generation::Ours,
            Confidence::Perhaps => Generation::Old,
        };
    }

    /// The process was there all the time: what it was told before its last answer it has.
    pub(crate) fn has_heard(&mut self) {
        self.recent.has_heard();
    }

    /// The process or the host was away from NATS: what was told meanwhile may be lost.
    pub(crate) fn may_have_missed(&mut self) {
        let unheard = self.unheard.get_or_insert_default();
        unheard.changed.extend(self.recent.take());
    }

    /// The process has been heard of: what it may have missed is said again.
    pub(crate) async fn heard(&mut self, heard: Confidence) {
        self.meet(heard);
        let Some(unheard) = &mut self.unheard else {
            return;
        };
        unheard.answers += 1;
        let changed = unheard.changed.clone();
        // What is told now may be lost as well.
        changed.iter().for_each(|id| self.recent.note(id.clone()));
        if heard == Confidence::Surely || unheard.answers >= PERHAPS {
            self.unheard = None;
        }
        let is_told = |id: &LinkId| self.tracked.get(id).is_some_and(|t| t.told.is_some());
        let (anew, gone): (Vec<_>, Vec<_>) = changed.iter().partition(|id| is_told(id));
        let is_withdrawn = |id: &&LinkId| self.tracked.get(*id).is_some_and(|t| t.is_withdrawn);
        let (withdrawn, left): (Vec<_>, Vec<_>) = gone.into_iter().partition(is_withdrawn);
        if self.is_away() {
            return;
        }
        let named = |id: &LinkId| (id.clone(), bare_link(id));
        self.withdraw(withdrawn.into_iter().map(named).collect())
            .await;
        self.unreported.retain(|known| !left.contains(&&known.id));
        // Before what is there: an old process may take that for the same link.
        self.take_away(left.into_iter().map(named).collect()).await;
        let anew: Vec<_> = anew.into_iter().map(bare_link).collect();
        self.remove_before_retelling(&anew.iter().collect::<Vec<_>>())
            .await;
        // What an old process was started with it has, and may do again what it does for a link when it
        // hears of it once more: it keeps one link of each pair in mind.
        let missed = |id: &LinkId| heard == Confidence::Surely || changed.contains(id);
        for told in self.standing(missed) {
            if self.is_away() {
                return;
            }
            self.tell(&told).await;
        }
    }

    /// Whether the host is away from NATS: all is told again when it is back, and each message would wait
    /// for its time.
    fn is_away(&self) -> bool {
        self.deps.nats.connection_state() != State::Connected
    }

    /// Whether the process is of the 1.9 generation, as far as is known.
    pub(crate) fn is_old(&self) -> bool {
        self.generation == Generation::Old
    }

    /// How many links the provider has.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.tracked.len()).unwrap_or(u32::MAX)
    }

    /// Whether the provider has a link that it reports of.
    pub(crate) fn has(&self, report: &LinkReport) -> bool {
        let (package, name) = (&report.wit_package, &report.name);
        let key = LinkKey::new(&report.source_id, &report.wit_namespace, package, name);
        key.is_ok_and(|key| self.tracked.contains_key(&(key, report.target.clone())))
    }

    /// The links in the order in which they were put, by which a provider goes where several want the
    /// same of it.
    fn in_order(&self) -> Vec<LinkId> {
        let links = self.deps.links.of(&self.id).into_iter();
        let ids = links.filter_map(|link| id_of(&link));
        ids.filter(|id| self.tracked.contains_key(id)).collect()
    }

    fn note(&mut self, id: LinkId) {
        if let Some(unheard) = &mut self.unheard {
            unheard.changed.insert(id.clone());
        }
        self.recent.note(id);
    }

    /// Takes over the links as they are now, and returns those that are gone.
    async fn refresh(&mut self) -> HashMap<LinkId, TrackedLink> {
        self.changes.mark_unchanged();
        let mut gone = std::mem::take(&mut self.tracked);
        let mut failed = false;
        for link in self.deps.links.of(&self.id) {
            // The table has warned of what cannot be a link.
            let Ok(key) = link.check() else { continue };
            let id = (key, link.target.clone());
            let before = gone.remove(&id);
            let tracked = match before {
                Some(before) if before.is_usable_for(&link) => TrackedLink { link, ..before },
                Some(before) => TrackedLink {
                    is_withdrawn: before.is_withdrawn,
                    ..self.track(link, before.told).await
                },
                None => self.track(link, None).await,
            };
            failed |= tracked.source.is_err() || tracked.target.is_err();
            let has_no_room = self.left_out.contains(&id);
            if let Entry::Vacant(place) = self.tracked.entry(id) {
                place.insert(TrackedLink {
                    has_no_room,
                    ..tracked
                });
            }
        }
        self.retry_at = failed.then(|| Instant::now() + RETRY);
        gone
    }

    async fn track(&self, link: Link, told: Option<Told>) -> TrackedLink {
        let (source, target) = tokio::join!(
            self.watch(&link.source_config),
            self.watch(&link.target_config)
        );
        let names = own_secrets(&self.id, &link);
        let entity = self.deps.entity.clone();
        TrackedLink {
            link,
            source,
            target,
            secrets: SecretBundle::follow(&self.deps.secrets, names, entity),
            told,
            is_withdrawn: false,
            is_refused: false,
            has_no_room: false,
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

    async fn tell(&mut self, told: &Told) {
        if let Some(message) = told.message(&self.id, &self.deps.sealer) {
            if let Some(at) = self.removed_at {
                sleep_until(at + APART).await;
            }
            publish(&self.deps.nats, &self.put, &message).await;
            self.told_at = Some(Instant::now());
        }
    }
}
