//! Requests about links.

mod deletion;

use std::time::Duration;

use lattice_control::types::DeleteLinkRequest;
use lattice_control::{ControlError, Done, Outcome};
use lattice_core::event::{Event, LinkdefDeleted, LinkdefSetFailed};
use lattice_core::link::{LinkState, LinkStatus};
use lattice_core::record::restore_rules;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, ConfigName, Link, ResolvedLink, StringMap, config};
use lattice_store::{DeletedLink, LatticeStore, PutLinkError};
use tokio::time::{Instant, timeout_at};

use super::HostApi;
use crate::links::LinkTable;
use crate::providers::publish;
use deletion::Deletion;

/// How long a reply waits until this host itself has seen the change. The change is stored by
/// then; whoever asks this host next should find it.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// How long it waits besides for the store to say that it is otherwise. Clients wait two seconds.
const SAID_WITHIN: Duration = Duration::from_millis(500);

impl HostApi {
    /// All links, with what their ends report about them.
    pub(super) async fn all_links(&self) -> Vec<Link> {
        let (mut links, refused) = self.links.all();
        if let Err(error) = self.store.status().attach(&mut links).await {
            tracing::warn!(%error, "links are told without their states");
        }
        for (place, reason) in refused {
            let status = LinkStatus {
                endpoint: links[place].source_id.clone(),
                host_id: self.identity.id.as_str().to_owned(),
                state: LinkState::Failed,
                reason: Some(reason),
            };
            links[place].status.push(status);
        }
        links
    }

    pub(super) async fn store_link(&self, link: Link) -> Done {
        let mut link = Link {
            status: Vec::new(),
            ..link
        };
        restore_rules(&mut link);
        match self.store.put_link(&link).await {
            Ok(_replaced) => {}
            Err(error) => return Err(self.link_refused(link, &error)),
        }
        // At once: who deletes it through another host is heard after that.
        self.events.publish(Event::LinkdefSet(link.clone()));
        let resolved = self.for_old_providers(&link).await;
        // Last, so that what is told does not come after the news that it is gone.
        let source = ComponentId::new(&link.source_id)?;
        let seen_by = Instant::now() + SEEN_WITHIN;
        let is_there = links_satisfy(&self.links, &self.store, &source, seen_by, |links| {
            links.contains(&link)
        });
        if is_there.await
            && let Some(resolved) = resolved
        {
            self.tell_old_providers(&link, &resolved).await;
        }
        Ok(Outcome::message("successfully set link"))
    }

    fn link_refused(&self, link: Link, error: &PutLinkError) -> ControlError {
        let refusal = ControlError::from_error(error.code(), error);
        let refusal = match error.hint() {
            Some(hint) => refusal.with_hint(hint),
            None => refusal,
        };
        let error = refusal.message.clone();
        self.events
            .publish(Event::LinkdefSetFailed(LinkdefSetFailed { link, error }));
        refusal
    }

    pub(super) async fn remove_link(&self, request: DeleteLinkRequest) -> Done {
        let source = ComponentId::new(&request.source_id)?;
        // For all that the reply waits for, one after the other.
        let seen_by = Instant::now() + SEEN_WITHIN;
        let deletion = Deletion {
            lattice: &self.identity.lattice,
            store: &self.store,
            links: &self.links,
            unwritten: &self.unwritten,
            source: &source,
            request: &request,
            seen_by,
        };
        let removed = match deletion.run().await {
            Ok(DeletedLink::NoSpec) => {
                self.tell_again(&source, &request, seen_by).await;
                return Ok(Outcome::message(
                    "successfully deleted link (spec doesn't exist)",
                ));
            }
            Ok(DeletedLink::NoMatch) => {
                self.tell_again(&source, &request, seen_by).await;
                None
            }
            Ok(DeletedLink::Removed(link)) => {
                let is_it = |known: &Link| request.means(known) && known.target == link.target;
                let is_gone = |links: &[Link]| !links.iter().any(is_it);
                let satisfy = links_satisfy(&self.links, &self.store, &source, seen_by, is_gone);
                if satisfy.await {
                    self.tell_removed(&link).await;
                }
                Some(link)
            }
            Err(error) => {
                let refusal = ControlError::from_error(error.code(), &error);
                return Err(match error.hint() {
                    Some(hint) => refusal.with_hint(hint),
                    None => refusal,
                });
            }
        };
        self.events.publish(Event::LinkdefDeleted(LinkdefDeleted {
            source_id: request.source_id,
            name: request.name,
            wit_namespace: request.wit_namespace,
            wit_package: request.wit_package,
            target: removed.as_ref().map(|link| link.target.clone()),
            interfaces: removed.map(|link| link.interfaces),
        }));
        Ok(Outcome::message("successfully deleted link"))
    }

    /// Tells both ends of a link that it is gone.
    async fn tell_removed(&self, link: &Link) {
        let removal = ResolvedLink::removal(link);
        for end in self.ends(link) {
            publish(&self.rpc, &end.link_delete(), &removal).await;
        }
    }

    /// Tells once more that the links are gone that a request means, of which none is stored: whoever
    /// deletes one again may do so since a provider has not heard of it. Whom to tell is known for as
    /// long as this host remembers the link.
    async fn tell_again(
        &self,
        source: &ComponentId,
        request: &DeleteLinkRequest,
        seen_by: Instant,
    ) {
        let are_gone = |links: &[Link]| !links.iter().any(|link| request.means(link));
        let gone = self.links.until(are_gone, source);
        // One that is there after all has been put meanwhile.
        if timeout_at(seen_by, gone).await.is_err() {
            return;
        }
        for link in self.links.gone(|link| request.means(link)) {
            self.tell_removed(&link).await;
        }
    }

    /// What providers of old hosts, and those that no host has started, are told of a link. One that uses
    /// a secret is not told there, and none whose configs cannot be had: it would come with others than
    /// it has.
    async fn for_old_providers(&self, link: &Link) -> Option<ResolvedLink> {
        if link.config_names().any(config::is_secret_name) {
            return None;
        }
        let source = merged(&self.store, &link.source_config).await?;
        let target = merged(&self.store, &link.target_config).await?;
        Some(ResolvedLink::new(link, source, target))
    }

    /// Old providers listen on plain subjects. A link with rules is not told there to its source: no
    /// host keeps them for a provider that is one.
    async fn tell_old_providers(&self, link: &Link, resolved: &ResolvedLink) {
        let is_ruled = !link.rules.is_empty() && link.source_id != link.target;
        for end in self.ends(link).into_iter().skip(usize::from(is_ruled)) {
            publish(&self.rpc, &end.link_put(), resolved).await;
        }
    }

    /// The source and the target, if these are ids.
    fn ends(&self, link: &Link) -> Vec<ProviderSubjects> {
        let ids = [&link.source_id, &link.target].map(ComponentId::new);
        let lattice = &self.identity.lattice;
        ids.into_iter()
            .flatten()
            .map(|id| ProviderSubjects::new(lattice, &id))
            .collect()
    }
}

/// Whether the links of a source satisfy this: as this host sees them by then, or unless they are stored
/// otherwise, since it may be behind. What a request has changed may have been changed again. When the store
/// does not say, whoever is told once too often is better off than who is never told.
async fn links_satisfy(
    table: &LinkTable,
    store: &LatticeStore,
    source: &ComponentId,
    seen_by: Instant,
    condition: impl Fn(&[Link]) -> bool,
) -> bool {
    let seen = timeout_at(seen_by, table.until(&condition, source));
    if seen.await.is_ok() {
        return true;
    }
    let said_by = seen_by + SAID_WITHIN;
    let stored = timeout_at(said_by, store.links().sure_spec(source));
    match stored.await {
        Ok(Ok(spec)) => condition(spec.as_ref().map_or(&[], |spec| spec.links.as_slice())),
        Ok(Err(error)) => {
            let source = source.as_str();
            tracing::debug!(source, %error, "old providers are told of a link that cannot be read");
            true
        }
        Err(_) => true,
    }
}

/// The merged content of configs; `None` when one of them cannot be had now.
async fn merged(store: &LatticeStore, names: &[String]) -> Option<StringMap> {
    let mut configs = Vec::with_capacity(names.len());
    for config in names {
        let name = ConfigName::new(config).ok()?;
        match store.configs().get(&name).await {
            Ok(Some(found)) => configs.push(found),
            Ok(None) => {
                tracing::warn!(
                    config,
                    "old providers are not told of a link: its config is gone"
                );
                return None;
            }
            Err(error) => {
                tracing::warn!(
                    config,
                    %error,
                    "old providers are not told of a link: its config cannot be read"
                );
                return None;
            }
        }
    }
    Some(config::merge(&configs))
}

#[cfg(test)]
mod tests {
    use lattice_core::LatticeName;
    use lattice_nats_box::NatsBox;
    use lattice_store::StoreOptions;

    use super::*;

    async fn store() -> (NatsBox, LatticeStore) {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let lattice = LatticeName::default();
        let store = LatticeStore::open(client, &lattice, StoreOptions::default());
        (nats, store.await.unwrap())
    }

    #[tokio::test]
    async fn what_old_providers_are_told_of_goes_by_what_is_stored_and_not_by_the_request() {
        let (mut nats, store) = store().await;
        let text = r#"{"source_id": "a", "target": "kv", "name": "default",
            "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["store"]}"#;
        let link: Link = serde_json::from_str(text).unwrap();
        let source = ComponentId::new("a").unwrap();
        // A host that is behind, whatever happens.
        let table = LinkTable::new(LatticeName::default());
        store.put_link(&link).await.unwrap();
        let is_there = |links: &[Link]| links.contains(&link);
        assert!(links_satisfy(&table, &store, &source, Instant::now(), is_there).await);
        store.links().delete(&link.key().unwrap()).await.unwrap();
        assert!(!links_satisfy(&table, &store, &source, Instant::now(), is_there).await);
        let mut other = link.clone();
        other.interfaces.push("atomics".to_owned());
        store.put_link(&other).await.unwrap();
        assert!(!links_satisfy(&table, &store, &source, Instant::now(), is_there).await);
        // Nobody says that it is otherwise.
        nats.stop();
        let begun = Instant::now();
        assert!(links_satisfy(&table, &store, &source, begun, is_there).await);
        // What the deletion waited for is not waited for again.
        assert!(begun.elapsed() < SEEN_WITHIN);
    }

    #[tokio::test]
    async fn configs_that_are_gone_or_cannot_be_read_do_not_count_as_empty() {
        let (_nats, store) = store().await;
        let there = ConfigName::new("there").unwrap();
        let content = StringMap::from([("key".to_owned(), "value".to_owned())]);
        store.configs().put(&there, &content).await.unwrap();
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(merged(&store, &names(&["there"])).await, Some(content));
        assert_eq!(merged(&store, &names(&["there", "gone"])).await, None);
        assert_eq!(merged(&store, &names(&[])).await, Some(StringMap::new()));
    }
}
