//! The listening sockets of the provider, by address, and where each link is.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lattice_provider_sdk::{ConfigChange, LinkError, LinkKey, Session, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::listener::Listener;
use crate::room::Room;
use crate::route::{Route, Routes};
use crate::settings::{Mode, PathPlace, Place};
use crate::tls::Identity;

/// How long requests may take to finish after their link has gone.
const DRAIN: Duration = Duration::from_secs(30);

/// Owns the sockets.
pub(crate) struct Servers {
    session: Session,
    room: Room,
    table: Mutex<Table>,
    /// Sockets that are closed while requests are still being answered.
    draining: TaskTracker,
}

/// A link as its settings want it.
pub(crate) struct Wanted {
    pub(crate) address: SocketAddr,
    pub(crate) mode: Mode,
    pub(crate) route: Route,
}

/// What there is to know of a link that has a home.
pub(crate) struct Standing {
    /// What it shows to clients.
    pub(crate) identity: Option<Shared<Identity>>,
    /// Why its requests go to another component, or are not served as it wants, if that is so.
    pub(crate) waits: Option<LinkError>,
}

impl Servers {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            room: Room::new(),
            table: Mutex::default(),
            draining: TaskTracker::new(),
        }
    }

    /// Gives a link its place at an address, listening there if nobody does yet. Where others are before
    /// it, it waits for its turn.
    pub(crate) fn add(&self, wanted: Wanted) -> Result<(), LinkError> {
        let (key, home) = (wanted.route.key.clone(), wanted.home());
        let mut table = self.table.lock();
        if !table.fits(&wanted) {
            let address = wanted.address;
            let what = format!("{address} is still in use by links that route by another header");
            return Err(LinkError::unavailable(what));
        }
        // One that waits for its place may have other TLS: with its turn that may be right.
        if table.owner(&home).is_none() {
            table.check_greeting(&wanted, &home)?;
        }
        self.enter(&mut table, wanted)
            .map_err(|e| home.not_listening(e))?;
        table.homes.insert(key, home);
        Ok(())
    }

    /// Gives a link another place, or its own with other settings, and serves it all the while. One that
    /// `stays` does not leave the place that it has for one that is another's.
    pub(crate) fn replace(&self, wanted: Wanted, stays: bool) -> Result<ConfigChange, LinkError> {
        let (key, home) = (wanted.route.key.clone(), wanted.home());
        let mut table = self.table.lock();
        let Some(old) = table.homes.get(&key).cloned() else {
            return Ok(ConfigChange::Relink);
        };
        if !table.fits(&wanted) {
            // Not before all links have left the address.
            return Ok(ConfigChange::Relink);
        }
        if stays && let Some(owner) = table.in_the_way(&key, &old, &home) {
            return Err(home.is_of(&owner));
        }
        // Where the config of the provider has changed, the other links follow.
        if stays && table.owner(&home).is_none_or(|owner| owner == key) {
            table.check_greeting(&wanted, &home)?;
        }
        if old.address != home.address {
            match self.enter(&mut table, wanted) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AddrInUse && old.covers(&home) => {
                    return Ok(ConfigChange::Relink);
                }
                Err(e) => return Err(home.not_listening(e)),
            }
            if let Some(unused) = table.leave(&old, &key) {
                self.draining.spawn(end(unused, Instant::now() + DRAIN));
            }
        } else if let Some(listener) = table.listeners.get(&home.address) {
            listener.change(|routes| routes.swap(&old.place, wanted.route));
        }
        table.homes.insert(key, home);
        Ok(ConfigChange::Taken)
    }

    fn enter(&self, table: &mut Table, wanted: Wanted) -> io::Result<()> {
        let Wanted {
            address,
            mode,
            route,
        } = wanted;
        if let Some(listener) = table.listeners.get(&address) {
            listener.change(|routes| routes.add(route));
            return Ok(());
        }
        let mut routes = Routes::new(&mode);
        routes.add(route);
        let peer = self.session.peer().clone();
        let listener = Listener::bind(address, peer, routes, self.room.clone())?;
        table.listeners.insert(address, listener);
        Ok(())
    }

    /// Tells how a link stands, and accepts connections at its address again where that has broken off.
    pub(crate) fn check(&self, key: &LinkKey) -> Result<Standing, LinkError> {
        let mut table = self.table.lock();
        let Table { listeners, homes } = &mut *table;
        let nowhere = || LinkError::unavailable("nobody listens for the link");
        let home = homes.get(key).ok_or_else(nowhere)?;
        let listener = listeners.get_mut(&home.address).ok_or_else(nowhere)?;
        listener.go_on().map_err(|e| {
            let what = format!("could not listen on {} again", home.address);
            LinkError::unavailable_because(what, e)
        })?;
        let routes = listener.shared().routes().read();
        let route = routes.of(key, &home.place).ok_or_else(nowhere)?;
        let owner = routes.owner(&home.place).filter(|owner| *owner != key);
        let waits = owner.map(|owner| home.is_of(owner));
        let is_apart = || {
            let first = routes
                .before(route)
                .filter(|first| !first.shows_like(route));
            first.map(|first| home.greets_for(&first.key))
        };
        Ok(Standing {
            identity: route.identity().cloned(),
            waits: waits.or_else(is_apart),
        })
    }

    /// Takes a link's place away; the last one at an address closes it. Requests under way finish.
    pub(crate) async fn remove(&self, key: &LinkKey) {
        if let Some(mut listener) = self.take_unused(key) {
            listener.close().await;
            self.draining.spawn(listener.drain(Instant::now() + DRAIN));
        }
    }

    fn take_unused(&self, key: &LinkKey) -> Option<Listener> {
        let mut table = self.table.lock();
        let home = table.homes.remove(key)?;
        table.leave(&home, key)
    }

    /// Closes every address and lets requests under way finish, by `until` at the latest.
    pub(crate) async fn shutdown(&self, until: Instant) {
        let listeners: Vec<_> = self.table.lock().listeners.drain().collect();
        for (_, mut listener) in listeners {
            listener.close().await;
            self.draining.spawn(listener.drain(until));
        }
        self.draining.close();
        if tokio::time::timeout_at(until, self.draining.wait())
            .await
            .is_err()
        {
            tracing::warn!("left requests unfinished");
        }
    }
}

async fn end(mut listener: Listener, until: Instant) {
    listener.close().await;
    listener.drain(until).await;
}

/// The sockets, and the links at them.
#[derive(Default)]
struct Table {
    listeners: HashMap<SocketAddr, Listener>,
    homes: HashMap<LinkKey, Home>,
}

impl Table {
    /// Whether the links at the address tell hosts apart as this one does.
    fn fits(&self, wanted: &Wanted) -> bool {
        let listener = self.listeners.get(&wanted.address);
        listener.is_none_or(|listener| listener.shared().routes().read().fits(&wanted.mode))
    }

    fn owner(&self, home: &Home) -> Option<LinkKey> {
        let listener = self.listeners.get(&home.address)?;
        listener
            .shared()
            .routes()
            .read()
            .owner(&home.place)
            .cloned()
    }

    /// Refuses a link whose TLS is not that of the connections it would be served over, and tells of what
    /// else of its settings has no effect: all that comes to an address begins in one way, before it is
    /// known whom it is for.
    fn check_greeting(&self, wanted: &Wanted, home: &Home) -> Result<(), LinkError> {
        let Some(listener) = self.listeners.get(&wanted.address) else {
            return Ok(());
        };
        let (routes, route) = (listener.shared().routes().read(), &wanted.route);
        let Some(first) = routes.before(route) else {
            return Ok(());
        };
        if !first.shows_like(route) {
            return Err(home.greets_for(&first.key));
        }
        if !first.greets_like(route) {
            tracing::warn!(
                component = %route.key.peer,
                link = %route.key.name,
                address = %home.address,
                first = %first.key.peer,
                "the limits of connections and `disable_keepalive` of a link have no effect: those of \
                 the link that came first hold for the address"
            );
        }
        Ok(())
    }

    /// Who has the place that a link wants, while it has one itself.
    fn in_the_way(&self, key: &LinkKey, old: &Home, new: &Home) -> Option<LinkKey> {
        let owner = self.owner(new).filter(|owner| owner != key)?;
        (self.owner(old)? == *key).then_some(owner)
    }

    /// Takes a link away; returns what listened for it alone.
    fn leave(&mut self, home: &Home, key: &LinkKey) -> Option<Listener> {
        let listener = self.listeners.get(&home.address)?;
        listener.change(|routes| routes.remove(key));
        let is_unused = listener.shared().routes().read().any().is_none();
        match is_unused {
            true => self.listeners.remove(&home.address),
            false => None,
        }
    }
}

impl Wanted {
    fn home(&self) -> Home {
        Home {
            address: self.address,
            place: self.route.place().clone(),
        }
    }
}

/// Where a link is found.
#[derive(Clone)]
struct Home {
    address: SocketAddr,
    place: Place,
}

impl Home {
    /// Whether nobody can listen at both addresses at once.
    fn covers(&self, other: &Self) -> bool {
        let (one, two) = (self.address, other.address);
        one.port() == two.port() && (one.ip().is_unspecified() || two.ip().is_unspecified())
    }

    fn not_listening(&self, error: io::Error) -> LinkError {
        let what = format!("could not listen on {}", self.address);
        LinkError::unavailable_because(what, error)
    }

    /// Says that connections begin as another link wants.
    fn greets_for(&self, first: &LinkKey) -> LinkError {
        let LinkKey { peer, name, .. } = first;
        LinkError::unavailable(format!(
            "connections to {} have the TLS of the link `{name}` to `{peer}`, which came first: give this \
             link the same `tls_cert_file` and `tls_priv_key_file`, or none where that has none, or an \
             `address` of its own",
            self.address
        ))
    }

    /// Says whose place it is.
    fn is_of(&self, owner: &LinkKey) -> LinkError {
        let LinkKey { peer, name, .. } = owner;
        LinkError::unavailable(format!(
            "{self} is that of component `{peer}`; it is free for this link when the link `{name}` to \
             `{peer}` has gone"
        ))
    }
}

impl std::fmt::Display for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, place } = self;
        let path = match &place.path {
            None => None,
            Some(PathPlace::Exact(path)) => Some(path.clone()),
            Some(PathPlace::Like(template)) => Some(template.to_string()),
        };
        match (path, &place.host) {
            (None, None) => write!(f, "the address {address}"),
            (Some(path), None) => write!(f, "the path `{path}` at {address}"),
            (None, Some(host)) => write!(f, "the host `{host}` at {address}"),
            (Some(path), Some(host)) => {
                write!(f, "the path `{path}` of the host `{host}` at {address}")
            }
        }
    }
}
