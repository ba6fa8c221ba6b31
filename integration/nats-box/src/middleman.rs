//! What stands between clients and a server, and makes their connections worse.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// How much one read takes.
const PIECE: usize = 16 << 10;
/// How many pieces are under way in one direction; the sender waits when there are more.
const UNDER_WAY: usize = 256;

/// Listens at a port of its own and passes on, byte by byte, to a server on this machine. It can be
/// slow and hang up. It ends, with all its connections, when it is dropped.
///
/// ```no_run
/// # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
/// let nats = lattice_nats_box::NatsBox::start().await?;
/// let middleman = lattice_nats_box::Middleman::before(nats.port).await?;
/// let url = middleman.instead_of(&nats.url); // for who shall come by it
/// middleman.cut(); // who has come is hung up on, and may come again
/// # drop(url); Ok(()) }
/// ```
#[derive(Debug)]
pub struct Middleman {
    /// Where it listens, at the loopback address.
    pub port: u16,
    server: u16,
    manners: Arc<Manners>,
    task: AbortHandle,
}

/// How it behaves, which may change at any time.
#[derive(Debug, Default)]
struct Manners {
    there: Way,
    back: Way,
    connections: AtomicUsize,
    cuts: watch::Sender<u64>,
}

/// What becomes of what passes in one direction.
#[derive(Debug, Default)]
struct Way {
    delay: Mutex<Duration>,
    /// Ends the connection over which it comes.
    word: Mutex<Option<Vec<u8>>>,
}

impl Middleman {
    /// One that passes everything on at once, until it is told otherwise.
    ///
    /// # Errors
    ///
    /// Fails when it cannot listen.
    pub async fn before(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let manners = Arc::new(Manners::default());
        let task = tokio::spawn(accept(listener, server, Arc::clone(&manners)));
        Ok(Self {
            port,
            server,
            manners,
            task: task.abort_handle(),
        })
    }

    /// The address of the server with this in its place.
    ///
    /// # Panics
    ///
    /// When the address does not name the server's port: nothing would come by this.
    #[must_use]
    pub fn instead_of(&self, url: &str) -> String {
        let [server, own] = [self.server, self.port].map(|port| format!(":{port}"));
        assert!(
            url.contains(&server),
            "{url} leads past the middleman of {server}"
        );
        url.replace(&server, &own)
    }

    /// What is read from now on comes so much later, in both directions.
    pub fn delay(&self, by: Duration) {
        set(&self.manners.there.delay, by);
        set(&self.manners.back.delay, by);
    }

    /// What the server says from now on comes so much later.
    pub fn delay_answers(&self, by: Duration) {
        set(&self.manners.back.delay, by);
    }

    /// Hangs up on all who are there. Those who come afterwards are served.
    pub fn cut(&self) {
        self.manners.cuts.send_modify(|count| *count += 1);
    }

    /// Hangs up on a client that says this word, before the server hears it. A word that comes in
    /// two pieces is overlooked.
    pub fn hang_up_on(&self, word: &[u8]) {
        set(&self.manners.there.word, Some(word.to_vec()));
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.manners.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Middleman {
    fn drop(&mut self) {
        // With it end the connections, which it owns.
        self.task.abort();
    }
}

/// A value that somebody set is whole, whatever happened to them.
fn set<T>(place: &Mutex<T>, value: T) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

fn get<T: Clone>(place: &Mutex<T>) -> T {
    place.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn accept(listener: TcpListener, server: u16, manners: Arc<Manners>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let mut cuts = manners.cuts.subscribe();
        manners.connections.fetch_add(1, Ordering::SeqCst);
        let manners = Arc::clone(&manners);
        connections.spawn(async move {
            tokio::select! {
                // Whoever is hung up on sees it at the connection.
                _ = connect(client, server, &manners) => {}
                _ = cuts.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(client: TcpStream, server: u16, manners: &Manners) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // An end of one direction closes that one only, as on a plain connection.
    let there = pass(from_client, to_server, &manners.there);
    let back = pass(from_server, to_client, &manners.back);
    tokio::try_join!(there, back).map(drop)
}

/// Passes on until the end, each piece when its time has come.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: &Way) -> io::Result<()> {
    let (pieces, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        let mut room = vec![0; PIECE];
        loop {
            let size = from.read(&mut room).await?;
            let piece = room[..size].to_vec();
            if get(&way.word).is_some_and(|word| holds(&piece, &word)) {
                return Err(io::Error::other("the word was said"));
            }
            let due = Instant::now() + get(&way.delay);
            if size == 0 || pieces.send((due, piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, piece)) = due.recv().await {
            // The timer is coarse, and would be late for what is due at once.
            if at > Instant::now() {
                tokio::time::sleep_until(at).await;
            }
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}

fn holds(piece: &[u8], word: &[u8]) -> bool {
    piece.windows(word.len()).any(|said| said == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A server that says what it hears, and one in front of it.
    async fn echo() -> Middleman {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _over = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Middleman::before(port).await.unwrap()
    }

    async fn client(of: &Middleman) -> TcpStream {
        let address = (Ipv4Addr::LOCALHOST, of.port);
        TcpStream::connect(address).await.unwrap()
    }

    /// Says it, and returns as many bytes as come back of it.
    async fn said(client: &mut TcpStream, text: &[u8]) -> Vec<u8> {
        client.write_all(text).await.unwrap();
        let mut came = vec![0; text.len()];
        let read = async {
            let whole = client.read_exact(&mut came).await;
            whole.unwrap_or(0)
        };
        let size = tokio::time::timeout(SOON, read).await.unwrap();
        came.truncate(size);
        came
    }

    #[tokio::test]
    async fn what_passes_is_late_and_whole() {
        let middleman = echo().await;
        let delay = Duration::from_millis(30);
        middleman.delay(delay);
        let begun = Instant::now();
        let (mut from, mut to) = client(&middleman).await.into_split();
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(3_000_000).collect();
        let say = async {
            to.write_all(&sent).await.unwrap();
            // What is still under way comes all the same.
            to.shutdown().await.unwrap();
        };
        let mut came = Vec::new();
        let (_, ended) = tokio::join!(say, from.read_to_end(&mut came));
        ended.unwrap();
        assert!(came == sent, "{} bytes came", came.len());
        assert!(begun.elapsed() >= 2 * delay, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn answers_alone_are_late_from_the_moment_on() {
        let middleman = echo().await;
        let mut client = client(&middleman).await;
        assert_eq!(said(&mut client, b"a").await, b"a");
        let delay = Duration::from_millis(60);
        middleman.delay_answers(delay);
        assert_eq!(get(&middleman.manners.there.delay), Duration::ZERO);
        let begun = Instant::now();
        assert_eq!(said(&mut client, b"b").await, b"b");
        assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn all_who_are_there_are_cut_off_and_may_come_again() {
        let middleman = echo().await;
        let mut here = [client(&middleman).await, client(&middleman).await];
        for client in &mut here {
            assert_eq!(said(client, b"a").await, b"a");
        }
        middleman.cut();
        for client in &mut here {
            let ended = tokio::time::timeout(SOON, client.read(&mut [0])).await;
            assert!(matches!(ended.unwrap(), Ok(0) | Err(_)));
        }
        let mut again = client(&middleman).await;
        assert_eq!(said(&mut again, b"a").await, b"a");
        assert_eq!(middleman.connections(), 3);
    }

    #[tokio::test]
    async fn who_says_the_word_is_hung_up_on_before_the_server_hears_it() {
        let middleman = echo().await;
        middleman.hang_up_on(b"UNSUB ");
        let (mut quiet, mut loud) = (client(&middleman).await, client(&middleman).await);
        assert_eq!(said(&mut loud, b"SUB 1").await, b"SUB 1");
        assert_eq!(said(&mut loud, b"+UNSUB 1").await, b"");
        assert_eq!(said(&mut quiet, b"SUB 2").await, b"SUB 2");
    }

    #[tokio::test]
    async fn it_ends_with_its_connections() {
        let middleman = echo().await;
        let mut client = client(&middleman).await;
        assert_eq!(said(&mut client, b"a").await, b"a");
        let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", middleman.server);
        let own = format!("amqp://guest:guest@127.0.0.1:{}/%2f", middleman.port);
        assert_eq!(middleman.instead_of(&url), own);
        drop(middleman);
        let ended = tokio::time::timeout(SOON, client.read(&mut [0])).await;
        assert!(matches!(ended.unwrap(), Ok(0) | Err(_)));
    }
}
