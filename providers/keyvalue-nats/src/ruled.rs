//! Links with rules, as they are wished.
//!
//! The host of a component keeps it to the rules of the link that it calls through. A bucket of a link
//! with rules is therefore not for calls through its other links, also while that link has failed, or is
//! being put again: it is remembered from before anything is tried.

use std::collections::HashMap;
use std::time::Duration;

use lattice_core::LatticeName;
use lattice_nats::connection::NatsSystem;
use lattice_provider_sdk::nats::{BackendSettings, NatsSettings};
use lattice_provider_sdk::{LinkKey, ProviderLink, Settings};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::settings::usual_bucket;

/// How long a link that was let go of, or could not be put, is remembered: longer than it takes until it
/// is put again, if it is still wished.
const REMEMBERED: Duration = Duration::from_secs(45);

/// What a link with rules leads to, as far as that is known.
#[derive(Debug, Clone)]
pub(crate) struct Ruled {
    /// The bucket that it configures.
    pub(crate) bucket: String,
    /// Where; `None` where it says that wrongly.
    pub(crate) place: Option<BackendSettings>,
    /// The NATS there, if it was ever reached.
    pub(crate) system: Option<NatsSystem>,
}

impl Ruled {
    /// What a link says, also one that says something else wrongly; `None` for a link without rules.
    pub(crate) fn read(
        link: &ProviderLink,
        settings: &Settings,
        lattice: &LatticeName,
        own: &NatsSettings,
    ) -> Option<Self> {
        let is_ruled = link.ruled || !link.rules.is_empty();
        let bucket = settings.text("bucket").map(str::trim);
        is_ruled.then(|| Self {
            bucket: bucket.map_or_else(|| usual_bucket(lattice), str::to_owned),
            place: BackendSettings::read(settings, own).ok(),
            system: None,
        })
    }

    /// Whether it may lead there; `own` is the connection of the lattice. Where it cannot be told, it
    /// may.
    fn may_lead_to(&self, there: &There<'_>, own: &NatsSettings) -> bool {
        let is_there = |place: &BackendSettings| {
            let system = self.system.as_ref();
            let may_be_there = system.is_none_or(|system| system.is_same(&there.system));
            place.may_have_domain_of(there.place)
                && (may_be_there || place.has_address_of(there.place, own))
        };
        self.place.as_ref().is_none_or(is_there)
    }
}

/// Where a call leads.
#[derive(Debug)]
pub(crate) struct There<'a> {
    /// As the link says it.
    pub(crate) place: &'a BackendSettings,
    /// As its server does.
    pub(crate) system: NatsSystem,
}

#[derive(Debug)]
struct Known {
    ruled: Ruled,
    /// It is refused until it changes, so that it is not put again by itself.
    is_refused: bool,
    /// When it is forgotten; `None` while it is held.
    until: Option<Instant>,
}

/// Links with rules by their identity.
#[derive(Debug)]
pub(crate) struct RuledLinks {
    /// The connection of the lattice.
    own: NatsSettings,
    links: Mutex<HashMap<LinkKey, Known>>,
}

impl RuledLinks {
    /// Knows none; `own` is the connection of the lattice.
    pub(crate) fn new(own: NatsSettings) -> Self {
        Self {
            own,
            links: Mutex::default(),
        }
    }

    /// Takes in what is wished, before it is tried: what a link with rules leads to, or `None` for a
    /// link without.
    pub(crate) fn wish(&self, link: &ProviderLink, ruled: Option<Ruled>) {
        let mut links = self.links.lock();
        let Some(ruled) = ruled else {
            links.remove(&link.key());
            return;
        };
        let known = Known {
            ruled,
            is_refused: false,
            until: None,
        };
        links.insert(link.key(), known);
    }

    fn change(&self, link: &ProviderLink, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.links.lock().get_mut(&link.key()) {
            change(known);
        }
    }

    /// Notes which NATS a link has reached.
    pub(crate) fn reached(&self, link: &ProviderLink, system: NatsSystem) {
        self.change(link, |known| known.ruled.system = Some(system));
    }

    /// Holds a link that is refused until it changes or is gone.
    pub(crate) fn refuse(&self, link: &ProviderLink) {
        self.change(link, |known| known.is_refused = true);
    }

    /// Lets a link go that is gone, or is put again soon.
    pub(crate) fn let_go(&self, link: &ProviderLink) {
        self.change(link, |known| {
            if !known.is_refused {
                known.until = Some(Instant::now() + REMEMBERED);
            }
        });
    }

    /// Lets a link go that is gone for good, whatever became of it.
    pub(crate) fn forget(&self, link: &ProviderLink) {
        self.change(link, |known| {
            let until = Instant::now() + REMEMBERED;
            known.until = known.until.or(Some(until));
        });
    }

    /// Whether another link of `source` is called so and has rules.
    pub(crate) fn has_name(&self, source: &str, name: &str) -> bool {
        self.any(source, |key, _| key.name.as_str() == name)
    }

    /// Whether a bucket there may be that of a link of `source` with rules.
    pub(crate) fn has_bucket<'a>(
        &self,
        source: &str,
        bucket: &str,
        there: impl Fn() -> There<'a>,
    ) -> bool {
        let is_meant = |_: &LinkKey, ruled: &Ruled| {
            ruled.bucket == bucket && ruled.may_lead_to(&there(), &self.own)
        };
        self.any(source, is_meant)
    }

    fn any(&self, source: &str, is_meant: impl Fn(&LinkKey, &Ruled) -> bool) -> bool {
        let now = Instant::now();
        let mut links = self.links.lock();
        links.retain(|_, known| known.until.is_none_or(|until| now < until));
        links
            .iter()
            .any(|(key, known)| key.peer.as_str() == source && is_meant(key, &known.ruled))
    }
}

#[cfg(test)]
mod tests {
    use lattice_core::{ComponentId, LinkName, LinkRules, Locality, StringMap, WitName};
    use lattice_provider_sdk::LinkRole;

    use super::*;

    fn link(name: &str) -> ProviderLink {
        ProviderLink {
            role: LinkRole::Target,
            peer: ComponentId::new("cart").unwrap(),
            name: LinkName::new(name).unwrap(),
            namespace: WitName::new("wasi").unwrap(),
            package: WitName::new("keyvalue").unwrap(),
            interfaces: Vec::new(),
            config: StringMap::new(),
            secrets: Default::default(),
            peer_config: StringMap::new(),
            locality: Locality::default(),
            rules: LinkRules::default(),
            ruled: true,
        }
    }

    fn own() -> NatsSettings {
        NatsSettings {
            url: "nats://127.0.0.1:4222".into(),
            ..NatsSettings::default()
        }
    }

    fn settings(values: &[(&str, &'static str)]) -> Settings {
        Settings::from_texts(values.to_vec(), [])
    }

    fn ruled(link: &ProviderLink, values: &[(&str, &'static str)]) -> Option<Ruled> {
        Ruled::read(link, &settings(values), &LatticeName::default(), &own())
    }

    fn system(server: &str) -> NatsSystem {
        NatsSystem::from(async_nats::ServerInfo {
            server_id: server.into(),
            ..Default::default()
        })
    }

    /// Whether a bucket is out of reach by a link that says that of its NATS.
    fn is_shut(links: &RuledLinks, place: &[(&str, &'static str)], bucket: &str) -> bool {
        let place = BackendSettings::read(&settings(place), &own()).unwrap();
        let there = || There {
            place: &place,
            system: system("A"),
        };
        links.has_bucket("cart", bucket, there)
    }

    #[test]
    fn a_bucket_is_shut_before_and_after_its_link_is_put() {
        let links = RuledLinks::new(own());
        let orders = link("orders");
        links.wish(&orders, ruled(&orders, &[("bucket", "o")]));
        assert!(links.has_name("cart", "orders") && !links.has_name("other", "orders"));
        for place in [&[][..], &[("cluster_uri", "localhost")]] {
            assert!(is_shut(&links, place, "o"));
            assert!(!is_shut(&links, place, "p"));
        }
        links.let_go(&orders);
        assert!(is_shut(&links, &[], "o"));
        links.wish(&orders, None);
        assert!(!is_shut(&links, &[], "o") && !links.has_name("cart", "orders"));
    }

    #[test]
    fn only_what_is_known_to_be_elsewhere_is_free() {
        let links = RuledLinks::new(own());
        let orders = link("orders");
        let alias = [("bucket", "o"), ("cluster_uri", "nats.shop")];
        links.wish(&orders, ruled(&orders, &alias));
        assert!(is_shut(&links, &[], "o"), "nobody was there yet");
        links.reached(&orders, system("A"));
        assert!(is_shut(&links, &[], "o"), "another address of it");
        links.reached(&orders, system("B"));
        assert!(!is_shut(&links, &[], "o"));
        assert!(is_shut(&links, &[("cluster_uri", "NATS.shop:4222")], "o"));
        // Of a link that is wrong it is not known where it leads.
        links.wish(
            &orders,
            ruled(&orders, &[("bucket", "o"), ("js_domain", "a.*")]),
        );
        assert!(is_shut(&links, &[], "o"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_is_refused_is_held_until_it_is_gone() {
        let links = RuledLinks::new(own());
        let orders = link("orders");
        links.wish(&orders, ruled(&orders, &[]));
        links.let_go(&orders);
        assert!(is_shut(&links, &[], "keyvalue_default"));
        tokio::time::advance(REMEMBERED).await;
        assert!(!is_shut(&links, &[], "keyvalue_default"));
        links.wish(&orders, ruled(&orders, &[]));
        links.refuse(&orders);
        links.let_go(&orders);
        tokio::time::advance(REMEMBERED).await;
        assert!(is_shut(&links, &[], "keyvalue_default"));
        links.forget(&orders);
        assert!(is_shut(&links, &[], "keyvalue_default"));
        tokio::time::advance(REMEMBERED).await;
        assert!(!is_shut(&links, &[], "keyvalue_default"));
    }
}
