//! What of a process, and of those that it is joined with, is reached without NATS.
//!
//! What peers say to one another is the same on all roads, message by message, so that deadlines,
//! streams, credit and cancellation are too. Only the carrier differs: within a process a message
//! is handed over as it is, without being written, sent and read, unless the caller can run the call
//! itself ([`crate::direct`]); between two processes of one machine it crosses a socket
//! ([`crate::socket`]).

mod tickets;

use std::any::TypeId;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use async_nats::{Message, Subject};
use lattice_core::provider::SecretText;
use lattice_core::road::{Road, Why};
use parking_lot::RwLock;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::auth::{Auth, Came, LineEnd};
use crate::direct::{Given, Running};
use crate::dispatch::{self, Via, route};
use crate::error::{CallError, RemoteError};
use crate::header::Told;
use crate::outbox::Outgoing;
use crate::peer::Inner;
use crate::serve::{Leave, WayOn};
use crate::socket::{Frame, Line, Tried, is_line};
pub use tickets::Expected;
use tickets::Ticket;

/// Takes in calls of one function.
pub(crate) trait TakeIn: Send + Sync {
    /// Whether a call of `source` would soon get its turn here.
    fn has_room(&self, source: Option<&str>) -> bool;

    /// Takes in a call. Of one that was made in this process it is true what it tells of its caller. With a
    /// way on it goes elsewhere once there is room and none here.
    fn take(self: Arc<Self>, message: Message, came: Came, way_on: Option<WayOn<'_>>);

    /// Whether it takes values of a type as they are.
    fn takes(&self, value: TypeId) -> bool;

    /// Begins a call that whoever makes it runs; refuses one that could not be served in time, before
    /// anything is made for it. One that `may_leave` may be answered with [`Answered::Elsewhere`].
    ///
    /// [`Answered::Elsewhere`]: crate::direct::Answered::Elsewhere
    fn begin(
        self: Arc<Self>,
        told: Told,
        deadline: Instant,
        given: Given,
        may_leave: bool,
    ) -> Result<Running, RemoteError>;
}

/// What of a process can be reached without NATS: the peers that were made with it, and those of
/// processes that it is joined with.
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
    /// Functions that take nothing new any more, but what calls under way in this process call.
    retired: RwLock<HashMap<Box<str>, Servers>>,
    /// Whether there ever were such, which is seldom asked for in vain then.
    has_retired: AtomicBool,
    /// Tells of changes of `functions`.
    version: watch::Sender<u64>,
    /// The processes that this one is joined with.
    lines: RwLock<Vec<Arc<Line>>>,
    last_line: AtomicU32,
    /// What this process says of itself on the lines that it opens.
    ticket: RwLock<SecretText>,
    /// What those are called that may say so on lines that others open, by their tickets.
    tickets: RwLock<HashMap<Box<str>, Ticket>>,
    /// Tickets that were withdrawn lately: a process that ends may show its own once more.
    withdrawn: RwLock<VecDeque<Box<str>>>,
    /// Who tells of what processes do on the lines to the calls of others.
    teller: OnceLock<Auth>,
}

impl std::fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tables {
            peers,
            functions,
            lines,
            ..
        } = &*self.tables;
        f.debug_struct("Switchboard")
            .field("peers", &peers.read().len())
            .field("functions", &functions.read().len())
            .field("lines", &lines.read().len())
            .finish()
    }
}

/// What became of a request.
pub(crate) enum Asked {
    /// It is on its way.
    Taken(Road),
    /// It can only go over NATS, and why.
    Left(Outgoing, Why),
}

/// What became of a message of a call under way.
pub(crate) enum Passed {
    /// It is there, or on its way.
    Done,
    /// It has to wait for room on a line.
    Waits(Arc<Line>, Outgoing),
    /// It goes over NATS.
    Left(Outgoing),
    /// Its line has ended, and the call with it.
    Gone(CallError),
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
        drop(functions);
        self.changed();
        Listed {
            board: self.clone(),
            subject: subject.into(),
            function: Arc::downgrade(function),
            is_retired: false,
        }
    }

    fn remove_function(&self, subject: &str, function: &Weak<dyn TakeIn>) {
        remove(&mut self.tables.functions.write(), subject, function);
        self.changed();
    }

    fn retire_function(&self, subject: &str, function: &Weak<dyn TakeIn>) {
        let mut retired = self.tables.retired.write();
        let servers = retired.entry(subject.into()).or_default();
        servers.push(Weak::clone(function));
        drop(retired);
        self.tables.has_retired.store(true, Ordering::Release);
        self.remove_function(subject, function);
    }

    fn changed(&self) {
        self.tables.version.send_modify(|version| *version += 1);
    }

    /// Tells of every change of the functions of this process.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.tables.version.subscribe()
    }

    /// Whether a call of the function at `subject` would stay in this process.
    #[must_use]
    pub fn serves(&self, subject: &str) -> bool {
        self.server_with_room(subject, None).is_some()
    }

    /// Whether a call of the function at `subject` would stay on this machine, as far as is known.
    /// Asks the processes that this one is joined with, so that it is known soon.
    #[must_use]
    pub fn reaches(&self, subject: &str) -> bool {
        let lines = self.tables.lines.read();
        self.serves(subject) || lines.iter().any(|line| line.knows(subject))
    }

    /// Whether the function is served in this process, with room or without.
    pub(crate) fn has_function(&self, subject: &str) -> bool {
        self.tables.functions.read().contains_key(subject)
    }

    pub(crate) fn server_with_room(
        &self,
        subject: &str,
        source: Option<&str>,
    ) -> Option<Arc<dyn TakeIn>> {
        let functions = self.tables.functions.read();
        let mut servers = functions.get(subject)?.iter().filter_map(Weak::upgrade);
        servers.find(|server| server.has_room(source))
    }

    pub(crate) fn server(&self, subject: &str) -> Option<Arc<dyn TakeIn>> {
        let functions = self.tables.functions.read();
        functions.get(subject)?.iter().find_map(Weak::upgrade)
    }

    /// A server of the function in this process that takes nothing new any more, for what a call under
    /// way here calls: one with room, as others may serve it elsewhere, or any for what has to stay.
    pub(crate) fn retired(
        &self,
        subject: &str,
        source: Option<&str>,
        local_only: bool,
    ) -> Option<Arc<dyn TakeIn>> {
        if !self.tables.has_retired.load(Ordering::Acquire) {
            return None;
        }
        let retired = self.tables.retired.read();
        let mut servers = retired.get(subject)?.iter().filter_map(Weak::upgrade);
        servers.find(|server| local_only || server.has_room(source))
    }

    /// Hands a request of a call under way here to such a server; gives it back when there is none.
    pub(crate) fn ask_retired(&self, request: Outgoing, local_only: bool) -> Option<Outgoing> {
        let Some(server) = self.retired(&request.subject, None, local_only) else {
            return Some(request);
        };
        self.take(&server, request, local_only);
        None
    }

    fn take(&self, server: &Arc<dyn TakeIn>, request: Outgoing, local_only: bool) {
        let way_on = |message: &Message| self.way_on(message);
        let way_on: Option<WayOn<'_>> = if local_only { None } else { Some(&way_on) };
        Arc::clone(server).take(request.arrived(), Came::Here, way_on);
    }

    /// Hands a call to its function, whether it has room or not; gives it back when that is not
    /// served.
    pub(crate) fn hand_over(&self, call: Message) -> Option<Message> {
        match self.server(&call.subject) {
            Some(server) => {
                // One that was handed on already stays.
                server.take(call, Came::Bus, None);
                None
            }
            None => Some(call),
        }
    }

    /// Hands a message for a call under way to the peer that it is for. `inbox` is the length of
    /// what an inbox begins with.
    pub(crate) fn pass(&self, message: Outgoing, inbox: usize) -> Passed {
        if is_line(&message.subject) {
            return self.pass_on(message);
        }
        match self.peer(&message.subject, inbox) {
            Some(peer) => {
                route(&peer, message.arrived(), Via::Here);
                Passed::Done
            }
            None => Passed::Left(message),
        }
    }

    fn peer(&self, subject: &Subject, inbox: usize) -> Option<Arc<Inner>> {
        let inbox = subject.get(..inbox)?;
        self.tables.peers.read().get(inbox).and_then(Weak::upgrade)
    }

    /// Whether a place is in the inbox of a peer of this process.
    pub(crate) fn has_peer(&self, place: &Subject, inbox: usize) -> bool {
        self.peer(place, inbox).is_some()
    }

    fn pass_on(&self, message: Outgoing) -> Passed {
        let lines = self.tables.lines.read();
        let line = lines.iter().find(|line| line.leads_to(&message.subject));
        let line = line.cloned();
        drop(lines);
        let subject = message.subject.to_string();
        let gone = || Passed::Gone(CallError::Gone { subject });
        let Some(line) = line else {
            return gone();
        };
        match line.try_pass(message) {
            Ok(()) => Passed::Done,
            Err(TrySendError::Full(message)) => Passed::Waits(line, message),
            Err(TrySendError::Closed(_)) => gone(),
        }
    }

    /// Hands a request to the nearest server that has room. One that must stay on this machine
    /// waits for its turn where there is none.
    ///
    /// `goes_by` is told the number of the line that the request takes.
    pub(crate) fn ask(
        &self,
        mut request: Outgoing,
        local_only: bool,
        goes_by: impl Fn(u32),
    ) -> Asked {
        let mut why = Why::NoServerHere;
        if let Some(server) = self.server_with_room(&request.subject, None) {
            self.take(&server, request, local_only);
            return Asked::Taken(Road::Process);
        }
        if let Some(server) = self.server(&request.subject) {
            if local_only {
                server.take(request.arrived(), Came::Here, None);
                return Asked::Taken(Road::Process);
            }
            why = Why::NoRoomHere;
        }
        let lines = self.tables.lines.read();
        // What may not leave the machine also tries those of whom nothing is known, but not first.
        let rounds: &[bool] = if local_only { &[false, true] } else { &[false] };
        for asks_all in rounds {
            for line in lines.iter() {
                match line.request(request, local_only, *asks_all, &goes_by) {
                    Tried::Sent => return Asked::Taken(Road::Socket),
                    Tried::NotThere(back) => request = back,
                    Tried::NoRoom(back) => {
                        request = back;
                        why = Why::NoRoomHere;
                    }
                }
            }
        }
        Asked::Left(request, why)
    }
}

impl Switchboard {
    /// The way on for a call of this process: its caller sends it over NATS.
    fn way_on(&self, message: &Message) -> Leave {
        let (board, message) = (self.clone(), message.clone());
        Leave::Message(Box::new(move |place, waited| {
            let inbox = message.reply.as_ref();
            let peer = inbox.and_then(|inbox| board.peer_of(inbox));
            peer.is_some_and(|peer| dispatch::send_on(&peer, &message, place, waited.arrived))
        }))
    }
}

/// The side of the lines.
impl Switchboard {
    /// Adds a line; what is to be sent over it comes out of the queue.
    pub(crate) fn add_line(&self, end: LineEnd) -> (Arc<Line>, Receiver<Frame>) {
        let id = self.tables.last_line.fetch_add(1, Ordering::Relaxed) + 1;
        let (line, queue) = Line::new(id, end);
        let line = Arc::new(line);
        self.tables.lines.write().push(Arc::clone(&line));
        (line, queue)
    }

    /// Removes a line; the calls that went over it fail.
    pub(crate) fn remove_line(&self, line: &Arc<Line>) {
        let mut lines = self.tables.lines.write();
        lines.retain(|known| !Arc::ptr_eq(known, line));
        drop(lines);
        for peer in self.peers() {
            peer.slots.lose(line);
        }
    }

    fn peers(&self) -> Vec<Arc<Inner>> {
        let peers = self.tables.peers.read();
        peers.values().filter_map(Weak::upgrade).collect()
    }

    /// The peer of this process whose inbox a subject is in.
    fn peer_of(&self, subject: &str) -> Option<Arc<Inner>> {
        let peers = self.tables.peers.read();
        let mut peers = peers
            .iter()
            .filter(|(inbox, _)| subject.starts_with(&***inbox));
        peers.find_map(|(_, peer)| peer.upgrade())
    }

    /// Takes in a message of a call under way that came over a line.
    pub(crate) fn deliver(&self, message: Outgoing, line: &Line) {
        if let Some(peer) = self.peer_of(&message.subject) {
            route(&peer, message.arrived(), Via::Line(line));
        }
    }

    /// Takes back a request that the other end of a line cannot serve now.
    pub(crate) fn declined(&self, request: Outgoing, local_only: bool, line: &Line) {
        let inbox = request.reply.as_ref();
        if let Some(peer) = inbox.and_then(|inbox| self.peer_of(inbox)) {
            dispatch::send_declined(&peer, request, local_only, line);
        }
    }
}

/// A place on the board, given up when dropped.
pub(crate) struct Listed {
    board: Switchboard,
    subject: Box<str>,
    function: Weak<dyn TakeIn>,
    is_retired: bool,
}

impl Listed {
    /// Leaves the place to what calls that are under way in this process call: others, and other
    /// processes, find it no more.
    pub(crate) fn retire(&mut self) {
        self.is_retired = true;
        self.board.retire_function(&self.subject, &self.function);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let (subject, function) = (&self.subject, &self.function);
        if self.is_retired {
            let mut retired = self.board.tables.retired.write();
            remove(&mut retired, subject, function);
        } else {
            self.board.remove_function(subject, function);
        }
    }
}

fn remove(functions: &mut HashMap<Box<str>, Servers>, subject: &str, function: &Weak<dyn TakeIn>) {
    if let Some(servers) = functions.get_mut(subject) {
        servers.retain(|server| !server.ptr_eq(function));
        if servers.is_empty() {
            functions.remove(subject);
        }
    }
}
