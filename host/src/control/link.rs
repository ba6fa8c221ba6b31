//! Requests about links.

use std::time::Duration;

use lattice_control::types::DeleteLinkRequest;
use lattice_control::{ControlError, Done, Outcome};
use lattice_core::event::{Event, LinkdefDeleted, LinkdefSetFailed};
use lattice_core::link::{LinkState, LinkStatus};
use lattice_core::record::restore_rules;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, ConfigName, Link, ResolvedLink, StringMap, config};
use lattice_store::{DeletedLink, PutLinkError};
use tokio::time::timeout;

use super::HostApi;
use crate::providers::publish;

/// How long a reply waits until this host itself has seen the change. The change is stored by
/// then; whoever asks this host next should find it.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

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
        if let Ok(source) = ComponentId::new(&link.source_id) {
            let known = self.links.until(|links| links.contains(&link), &source);
            let _seen = timeout(SEEN_WITHIN, known).await;
        }
        self.tell_old_providers(&link).await;
        self.events.publish(Event::LinkdefSet(link));
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
        // The record has its name. The other names are compared with what is stored, whatever that is.
        let source = ComponentId::new(&request.source_id)?;
        let (namespace, package) = (&request.wit_namespace, &request.wit_package);
        let links = self.store.links();
        let deleted = links.delete_named(&source, namespace, package, &request.name);
        let removed = match deleted.await {
            Ok(DeletedLink::NoSpec) => {
                self.tell_again(&source, &request).await;
                return Ok(Outcome::message(
                    "successfully deleted link (spec doesn't exist)",
                ));
            }
            Ok(DeletedLink::NoMatch) => {
                self.tell_again(&source, &request).await;
                None
            }
            Ok(DeletedLink::Removed(link)) => {
                let gone = self.links.until(|links| !links.contains(&link), &source);
                let _seen = timeout(SEEN_WITHIN, gone).await;
                self.tell_removed(&link).await;
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
    async fn tell_again(&self, source: &ComponentId, request: &DeleteLinkRequest) {
        let are_gone = |links: &[Link]| !links.iter().any(|link| request.means(link));
        let gone = self.links.until(are_gone, source);
        // One that is there after all has been put meanwhile.
        if timeout(SEEN_WITHIN, gone).await.is_err() {
            return;
        }
        for link in self.links.gone(|link| request.means(link)) {
            self.tell_removed(&link).await;
        }
    }

    /// Providers of old hosts, and those that no host has started, listen on plain subjects. A
    /// link that uses a secret is not told there, and one with rules not to its source: no host keeps
    /// them for a provider that is one.
    async fn tell_old_providers(&self, link: &Link) {
        if link.config_names().any(config::is_secret_name) {
            return;
        }
        let source = self.merged(&link.source_config).await;
        let target = self.merged(&link.target_config).await;
        let resolved = ResolvedLink::new(link, source, target);
        let is_ruled = !link.rules.is_empty() && link.source_id != link.target;
        for end in self.ends(link).into_iter().skip(usize::from(is_ruled)) {
            publish(&self.rpc, &end.link_put(), &resolved).await;
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

    /// The merged content of configs; those that cannot be read now count as empty.
    async fn merged(&self, names: &[String]) -> StringMap {
        let mut configs = Vec::with_capacity(names.len());
        for name in names.iter().filter_map(|name| ConfigName::new(name).ok()) {
            match self.store.configs().get(&name).await {
                Ok(found) => configs.extend(found),
                Err(error) => {
                    tracing::warn!(config = name.as_str(), %error, "told a link without a config");
                }
            }
        }
        config::merge(&configs)
    }
}
