//! One listening socket and its connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, Uri};
use lattice_provider_sdk::process::is_out_of_files;
use lattice_rpc::Peer;
use lattice_rpc::throttle::LogThrottle;
use parking_lot::{Mutex, RwLock};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection;
use crate::failure::Failure;
use crate::farewell::farewell;
use crate::room::Room;
use crate::route::{Found, Routes};
use crate::settings::ConnectionLimits;
use crate::spare::{Spare, dismiss};

/// Told to a client for which there is no room.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 57\r\nretry-after: 1\r\n\
    connection: close\r\n\r\n\
    connections: the server has no room for more connections\n";

/// How long to wait when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the connections of one socket share.
pub(crate) struct Shared {
    peer: Peer,
    authority: Authority,
    routes: RwLock<Routes>,
    /// For clients that are listened to although their connection is closed.
    farewells: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What a request that names no host is taken to be for.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn routes(&self) -> &RwLock<Routes> {
        &self.routes
    }

    /// The right to listen to a client whose connection is closed, if there is room for another one.
    pub(crate) fn farewell(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.farewells).try_acquire_owned().ok()
    }

    pub(crate) fn route(&self, uri: &Uri, headers: &HeaderMap) -> Result<Found, Failure> {
        self.routes.read().find(uri, headers)
    }

    /// How the next connection is to be treated.
    pub(crate) fn manners(&self) -> Manners {
        let routes = self.routes.read();
        match routes.any() {
            Some(route) => Manners {
                tls: route.acceptor(),
                keep_alive: route.keep_alive,
                limits: route.connection,
            },
            None => Manners::default(),
        }
    }
}

/// How a connection is treated.
#[derive(Default)]
pub(crate) struct Manners {
    pub(crate) tls: Option<TlsAcceptor>,
    /// Whether it serves more than one request.
    pub(crate) keep_alive: bool,
    pub(crate) limits: ConnectionLimits,
}

/// A socket that listens, until it is closed.
pub(crate) struct Listener {
    accept: Arc<Accept>,
    accepting: JoinHandle<()>,
    local: SocketAddr,
}

impl Listener {
    /// Binds the address. It takes effect at once, so that an error can be told.
    pub(crate) fn bind(
        address: SocketAddr,
        peer: Peer,
        routes: Routes,
        room: Room,
    ) -> io::Result<Self> {
        let socket = bound(address)?;
        let local = socket.local_addr()?;
        let authority = Authority::try_from(local.to_string()).map_err(io::Error::other)?;
        let closing = CancellationToken::new();
        let accept = Arc::new(Accept {
            shared: Arc::new(Shared {
                peer,
                authority,
                routes: RwLock::new(routes),
                farewells: Arc::new(Semaphore::new(room.farewells())),
            }),
            room,
            lines: Mutex::new(closing.child_token()),
            closing,
            abort: CancellationToken::new(),
            connections: TaskTracker::new(),
            turned_away: LogThrottle::default(),
            not_accepted: LogThrottle::default(),
        });
        tracing::info!(address = %local, "listening");
        Ok(Self {
            accepting: tokio::spawn(Arc::clone(&accept).run(socket)),
            accept,
            local,
        })
    }

    /// Listens again where accepting has broken off, which it only does with a panic.
    pub(crate) fn go_on(&mut self) -> io::Result<()> {
        if !self.accepting.is_finished() {
            return Ok(());
        }
        let socket = bound(self.local)?;
        tracing::error!(address = %self.local, "accepting connections had broken off, listening again");
        self.accepting = tokio::spawn(Arc::clone(&self.accept).run(socket));
        Ok(())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.accept.shared
    }

    /// Changes the routes while connections are served. If connections are treated in another way then,
    /// those that are there end after the request at hand.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Routes)) {
        if self.shared().routes().write().change(change) {
            self.accept.end_lines();
        }
    }

    /// Closes the socket; when this returns the address is free.
    pub(crate) async fn close(&mut self) {
        self.accept.closing.cancel();
        if let Err(error) = (&mut self.accepting).await {
            tracing::error!(%error, "accepting connections ended badly");
        }
    }

    /// After [`Listener::close`], lets requests at hand finish, by `until` at the latest.
    pub(crate) async fn drain(self, until: Instant) {
        let connections = &self.accept.connections;
        connections.close();
        if tokio::time::timeout_at(until, connections.wait())
            .await
            .is_err()
        {
            self.accept.abort.cancel();
            connections.wait().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accept.closing.cancel();
        self.accept.abort.cancel();
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

/// Takes connections in.
struct Accept {
    shared: Arc<Shared>,
    room: Room,
    /// Stops accepting and lets connections end after the request at hand.
    closing: CancellationToken,
    /// Lets those that are there end so, and is another one for those that come after that.
    lines: Mutex<CancellationToken>,
    /// Ends connections at once.
    abort: CancellationToken,
    connections: TaskTracker,
    turned_away: LogThrottle,
    not_accepted: LogThrottle,
}

impl Accept {
    async fn run(self: Arc<Self>, socket: TcpListener) {
        let mut spare = Spare::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => match self.room.enter() {
                    Some(permit) => self.take_in(stream, permit),
                    None => self.turn_away(stream),
                },
                Err(error) => self.go_on_after(&error, &socket, &mut spare).await,
            }
        }
    }

    /// Lets the next client go where the process has no open file left for it, and waits for a moment
    /// where that cannot be done either.
    async fn go_on_after(&self, error: &io::Error, socket: &TcpListener, spare: &mut Spare) {
        if let Some(untold) = self.not_accepted.turn() {
            tracing::warn!(%error, untold, "could not accept a connection");
        }
        let next = match is_out_of_files(error) {
            true => spare.accept(socket).await,
            false => None,
        };
        let is_let_go = next.is_some();
        if let Some(stream) = next {
            let words = self.shared.manners().tls.is_none().then_some(NO_ROOM);
            if let Err(error) = dismiss(stream, words) {
                tracing::debug!(%error, "could not tell a client that there is no room");
            }
        }
        spare.renew();
        if !is_let_go {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Closes a connection for which there is no room, at once: left in the system's queue, its
    /// client would wait for as long as it likes without a word.
    fn turn_away(&self, stream: TcpStream) {
        if self.shared.manners().tls.is_none()
            && let Some(permit) = self.shared.farewell()
        {
            self.connections.spawn(async move {
                let _permit = permit;
                farewell(stream, Some(NO_ROOM)).await;
            });
        }
        if let Some(untold) = self.turned_away.turn() {
            tracing::error!(
                most = self.room.most(),
                untold,
                "closed a new connection: there are as many as this server keeps"
            );
        }
    }

    fn end_lines(&self) {
        let next = self.closing.child_token();
        let lines = std::mem::replace(&mut *self.lines.lock(), next);
        lines.cancel();
    }

    fn take_in(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let shared = Arc::clone(&self.shared);
        let closing = self.lines.lock().clone();
        let abort = self.abort.clone();
        self.connections.spawn(async move {
            let _permit = permit;
            tokio::select! {
                biased;
                () = abort.cancelled() => {}
                () = connection::serve(stream, shared, closing) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_client_without_room_is_told_and_let_go() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = socket.accept().await.unwrap();
        // Most have asked for something by then.
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        let saying = tokio::spawn(farewell(stream, Some(NO_ROOM)));
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        drop(client);
        saying.await.unwrap();
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 1"));
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
    }
}
