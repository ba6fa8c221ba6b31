//! The way between peers of one process, which needs no NATS.
//!
//! What peers say to one another is the same on both ways, message by message, so that deadlines,
//! streams, credit and cancellation are too. Only the carrier differs: a message is handed over as
//! it is, without being written, sent and read.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use async_nats::Message;
use parking_lot::RwLock;

use crate::outbox::Outgoing;
use crate::peer::{Inner, route};

/// Takes in calls of one function.
pub(crate) trait TakeIn: Send + Sync {
    /// Whether a call would soon get its turn here.
    fn has_room(&self) -> bool;

    /// Takes in a call.
    fn take(self: Arc<Self>, message: Message);
}

/// What of a process can be reached without NATS: the peers that were made with it.
///
/// All of them have to be in the same lattice on the same NATS. Clones share everything.
#[derive(Clone, Default)]
pub struct Switchboard {
    tables: Arc<Tables>,
}

type Servers = Vec<Weak<dyn TakeIn>>;

#[derive(Default)]
struct Tables {
    /// Peers, by what their inboxes begin with.
    peers: RwLock<HashMap<Box<str>, Weak<Inner>>>,
    /// Functions, by subject. There may be several servers of one.
    functions: RwLock<HashMap<Box<str>, Servers>>,
}

impl std::fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (peers, functions) = (&self.tables.peers, &self.tables.functions);
        f.debug_struct("Switchboard")
            .field("peers", &peers.read().len())
            .field("functions", &functions.read().len())
            .finish()
    }
}

impl Switchboard {
    pub(crate) fn add_peer(&self, inbox: &str, peer: &Arc<Inner>) {
        let peer = Arc::downgrade(peer);
        self.tables.peers.write().insert(inbox.into(), peer);
    }

    pub(crate) fn remove_peer(&self, inbox: &str) {
        self.tables.peers.write().remove(inbox);
    }

    /// Lets calls of a function that are made in this process come here, until the place is
    /// dropped.
    pub(crate) fn add_function(&self, subject: &str, function: &Arc<dyn TakeIn>) -> Listed {
        let mut functions = self.tables.functions.write();
        let servers = functions.entry(subject.into()).or_default();
        servers.push(Arc::downgrade(function));
        Listed {
            board: self.clone(),
            subject: subject.into(),
            function: Arc::downgrade(function),
        }
    }

    fn remove_function(&self, subject: &str, function: &Weak<dyn TakeIn>) {
        let mut functions = self.tables.functions.write();
        if let Some(servers) = functions.get_mut(subject) {
            servers.retain(|server| !server.ptr_eq(function));
            if servers.is_empty() {
                functions.remove(subject);
            }
        }
    }

    /// Whether a call of the function at `subject` would stay in this process.
    #[must_use]
    pub fn serves(&self, subject: &str) -> bool {
        self.server(subject).is_some()
    }

    fn server(&self, subject: &str) -> Option<Arc<dyn TakeIn>> {
        let functions = self.tables.functions.read();
        let mut servers = functions.get(subject)?.iter().filter_map(Weak::upgrade);
        servers.find(|server| server.has_room())
    }

    /// Hands a call to its function, whether it has room or not; gives it back when that is not
    /// served.
    pub(crate) fn hand_over(&self, call: Message) -> Option<Message> {
        let server = {
            let functions = self.tables.functions.read();
            let mut servers = functions.get(call.subject.as_str()).into_iter().flatten();
            servers.find_map(Weak::upgrade)
        };
        match server {
            Some(server) => {
                server.take(call);
                None
            }
            None => Some(call),
        }
    }

    /// Hands a message for a call under way to the peer that it is for; gives it back when that is
    /// no peer of this process. `inbox` is the length of what an inbox begins with.
    pub(crate) fn pass(&self, message: Outgoing, inbox: usize) -> Option<Outgoing> {
        let peer = message
            .subject
            .get(..inbox)
            .and_then(|inbox| self.tables.peers.read().get(inbox).and_then(Weak::upgrade));
        match peer {
            Some(peer) => {
                route(&peer, arrived(message));
                None
            }
            None => Some(message),
        }
    }

    /// Hands a request to a server of this process; gives it back when there is none with room.
    pub(crate) fn ask(&self, request: Outgoing) -> Option<Outgoing> {
        match self.server(&request.subject) {
            Some(server) => {
                server.take(arrived(request));
                None
            }
            None => Some(request),
        }
    }
}

/// A place on the board, given up when dropped.
pub(crate) struct Listed {
    board: Switchboard,
    subject: Box<str>,
    function: Weak<dyn TakeIn>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.board.remove_function(&self.subject, &self.function);
    }
}

/// What NATS would have made of it.
fn arrived(message: Outgoing) -> Message {
    let Outgoing {
        subject,
        reply,
        headers,
        payload,
        deadline: _,
    } = message;
    Message {
        length: payload.len(),
        subject,
        reply,
        payload,
        headers,
        status: None,
        description: None,
    }
}
