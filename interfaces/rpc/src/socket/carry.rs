//! Carrying what goes over one line, from its first byte to its end.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::frame::{BadFrame, Frame, GREETING, Request};
use super::line::{Line, MAX_FUNCTIONS};
use super::weight::{Kept, Load, UnauthenticatedBytes};
use crate::auth::{Came, LineEnd};
use crate::handing::again_late;
use crate::header;
use crate::local::Switchboard;
use crate::serve::{Leave, WayOn};

/// How long the other end may take to say what it is.
const GREETED: Duration = Duration::from_secs(5);

/// How long what waits to be sent may take to leave at the end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How many frames are written at once, and how large a batch grows before it is written.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 256 << 10;

/// How many frames make waiting for more not worth it.
const ENOUGH: usize = 32;

/// A payload that is longer is written from where it is.
const COPIED: usize = 4096;

/// How many answers of the reading half may wait: what it declines and what it tells of functions.
/// It never waits itself, since the other end may wait for it.
const ANSWERS: usize = 2 * MAX_FUNCTIONS;

/// How much is read at once, at least.
const READ: usize = 16 << 10;

/// How much of what has come may wait for the rest of its frame without being counted.
const FREE: usize = 128 << 10;

/// Why a line has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] BadFrame),
    #[error("the other end is no lattice process")]
    Stranger,
    #[error("the other end said nothing within {GREETED:?}")]
    Silent,
    #[error("the other end asks faster than it listens")]
    Greedy,
    #[error("too much is kept for the other end, or for all that have shown no ticket")]
    Heavy,
    #[error("the other end has shown a ticket of nobody")]
    Nobody,
}

/// Joins `board` with that of the process at the other end, until one of them ends.
pub(super) async fn carry(
    mut stream: UnixStream,
    board: &Switchboard,
    end: LineEnd,
    unauthenticated: &UnauthenticatedBytes,
    stop: &CancellationToken,
) -> Result<(), LineError> {
    greet(&mut stream).await?;
    if matches!(end, LineEnd::Host) {
        show_ticket(&mut stream, board).await?;
    }
    let (line, queue) = board.add_line(end);
    let _joined = Joined {
        board,
        line: Arc::clone(&line),
    };
    let (input, output) = stream.into_split();
    let (queued, answered) = mpsc::channel(ANSWERS);
    let answers = Answers {
        queue: queued,
        load: Load::new(unauthenticated),
        line: Arc::clone(&line),
    };
    let reading = Reading {
        line,
        board: board.clone(),
        answers,
        buffered: None,
        told: HashMap::new(),
        withdrawn: CancellationToken::new(),
    };
    let overdue = async {
        stop.cancelled().await;
        sleep(LAST_WORDS).await;
    };
    tokio::select! {
        ended = reading.run(input) => ended,
        ended = write(output, queue, answered, stop) => Ok(ended?),
        () = overdue => Ok(()),
    }
}

async fn greet(stream: &mut UnixStream) -> Result<(), LineError> {
    let greeting = async {
        stream.write_all(GREETING).await?;
        let mut theirs = [0; GREETING.len()];
        stream.read_exact(&mut theirs).await?;
        Ok::<_, io::Error>(theirs)
    };
    match timeout(GREETED, greeting).await {
        Ok(Ok(theirs)) if theirs == *GREETING => Ok(()),
        Ok(Ok(_)) => Err(LineError::Stranger),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(LineError::Silent),
    }
}

/// Says to the host which of its providers this process is, if it was told.
async fn show_ticket(stream: &mut UnixStream, board: &Switchboard) -> io::Result<()> {
    let ticket = board.shown();
    if ticket.is_empty() {
        return Ok(());
    }
    let mut frame = BytesMut::new();
    Frame::Hello(ticket).write(&mut frame);
    stream.write_all(&frame).await
}

/// A line on its board; its calls fail when it leaves.
struct Joined<'a> {
    board: &'a Switchboard,
    line: Arc<Line>,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.board.remove_line(&self.line);
    }
}

/// What the reading half has to say, and what is kept for the other end.
#[derive(Clone)]
struct Answers {
    queue: Sender<(Frame, Kept)>,
    load: Load,
    line: Arc<Line>,
}

impl Answers {
    fn is_for_stranger(&self) -> bool {
        matches!(self.line.end(), LineEnd::Somebody)
    }

    fn keep(&self, bytes: usize) -> Result<Kept, LineError> {
        let kept = self.load.keep(bytes, self.is_for_stranger());
        kept.ok_or(LineError::Heavy)
    }

    fn send(&self, frame: Frame) -> Result<(), LineError> {
        let kept = self.keep(frame.weight())?;
        let sent = self.queue.try_send((frame, kept));
        sent.map_err(|_| LineError::Greedy)
    }
}

/// What the other end was told of a function.
struct Told {
    here: bool,
    _kept: Kept,
}

/// The half that takes in what comes.
struct Reading {
    line: Arc<Line>,
    board: Switchboard,
    answers: Answers,
    /// What has come of a frame that is not whole.
    buffered: Option<Kept>,
    /// What the other end was told of the functions that it asked for.
    told: HashMap<Box<str>, Told>,
    /// Whoever is at the other end is nobody any more.
    withdrawn: CancellationToken,
}

impl Reading {
    async fn run(mut self, mut input: OwnedReadHalf) -> Result<(), LineError> {
        let mut changes = self.board.changes();
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(READ);
            let withdrawn = self.withdrawn.clone();
            tokio::select! {
                biased;
                () = withdrawn.cancelled() => return Ok(()),
                changed = changes.changed() => match changed {
                    Ok(()) => self.tell_changes()?,
                    Err(_) => return Ok(()),
                },
                read = input.read_buf(&mut buffer) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    let before = buffer.len();
                    while let Some(frame) = Frame::read(&mut buffer)? {
                        self.take(frame)?;
                    }
                    if before > FREE && buffer.len() < before {
                        // The rest would keep the room of all that came before it.
                        buffer = BytesMut::from(&buffer[..]);
                    }
                    self.weigh(buffer.capacity())?;
                }
            }
        }
    }

    /// Counts what waits for the rest of its frame.
    fn weigh(&mut self, bytes: usize) -> Result<(), LineError> {
        // First, as it is counted anew.
        drop(self.buffered.take());
        if bytes > FREE {
            self.buffered = Some(self.answers.keep(bytes)?);
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame) -> Result<(), LineError> {
        match frame {
            Frame::Want(function) => self.wanted(function),
            Frame::Have(function) => {
                self.has(&function);
                Ok(())
            }
            Frame::Gone(function) => {
                self.line.learn(&function, false);
                Ok(())
            }
            Frame::Request(request) => self.requested(request),
            Frame::Declined(Request {
                message,
                local_only,
            }) => {
                self.line.declined(&message.subject, local_only);
                self.board.declined(message, local_only, &self.line);
                Ok(())
            }
            Frame::Message(message) => {
                self.board.deliver(self.line.named(message), &self.line);
                Ok(())
            }
            Frame::Hello(ticket) => self.introduced(ticket.expose()),
        }
    }

    /// The other end says that it serves a function, as it was asked. It is asked for its own only.
    fn has(&self, function: &Subject) {
        let why = "a process says that it serves a function that is not its own";
        self.board.tell_of_line(&self.line, function, why);
        self.line.learn(function, true);
    }

    /// The other end says who it is.
    fn introduced(&mut self, ticket: &str) -> Result<(), LineError> {
        let (end, known) = (self.line.end(), self.board.whose(ticket));
        if let (LineEnd::Somebody, Some(ticket)) = (&end, known) {
            self.line.is_of(LineEnd::Provider(ticket.id));
            self.withdrawn = ticket.withdrawn;
            return Ok(());
        }
        if !self.board.was_withdrawn(ticket) {
            let why = "a process has shown a ticket of nobody, another than its own, or one of a host that was here before";
            self.board.tell_of_line(&self.line, "ticket", why);
        }
        Err(LineError::Nobody)
    }

    /// Tells whether a function is served here, and keeps the other end up to date from now on.
    fn wanted(&mut self, function: Subject) -> Result<(), LineError> {
        if self.told.len() >= MAX_FUNCTIONS && !self.told.contains_key(function.as_str()) {
            // The other end asks again, now and then, for those that it still has a use for.
            self.told.retain(|_, told| told.here);
            if self.told.len() >= MAX_FUNCTIONS {
                return Ok(());
            }
        }
        let here = self.board.has_function(&function);
        match self.told.get_mut(function.as_str()) {
            Some(told) => told.here = here,
            None => {
                let kept = self.answers.keep(Frame::Want(function.clone()).weight())?;
                let told = Told { here, _kept: kept };
                self.told.insert(function.as_str().into(), told);
            }
        }
        self.tell(function, here)
    }

    fn tell_changes(&mut self) -> Result<(), LineError> {
        let mut news = Vec::new();
        for (function, told) in &mut self.told {
            let here = self.board.has_function(function);
            if here != told.here {
                told.here = here;
                news.push((Subject::from(&**function), here));
            }
        }
        for (function, here) in news {
            self.tell(function, here)?;
        }
        Ok(())
    }

    fn tell(&self, function: Subject, here: bool) -> Result<(), LineError> {
        self.answer(if here {
            Frame::Have(function)
        } else {
            Frame::Gone(function)
        })
    }

    fn requested(&mut self, request: Request) -> Result<(), LineError> {
        let subject = &request.message.subject;
        // As within a process: what has nowhere else to go waits for its turn.
        let server = if request.local_only {
            self.board.server(subject)
        } else {
            self.board.server_with_room(subject, None)
        };
        match server {
            Some(server) => {
                let came = Came::Line(self.line.end());
                let way_back = |message: &Message| self.way_back(message);
                let way_on: Option<WayOn<'_>> = match request.local_only {
                    true => None,
                    false => Some(&way_back),
                };
                server.take(self.line.named(request.message).arrived(), came, way_on);
                Ok(())
            }
            None => {
                // The other end takes it for gone then, and has to be told when it is back.
                if request.local_only
                    && let Some(told) = self.told.get_mut(request.message.subject.as_str())
                {
                    told.here = false;
                }
                self.answer(Frame::Declined(self.apart(request)))
            }
        }
    }

    /// A request that is kept until it is written: that of a stranger without what came with it, or a little of
    /// much would keep all of it.
    fn apart(&self, mut request: Request) -> Request {
        if self.answers.is_for_stranger() {
            request.message.payload = Bytes::copy_from_slice(&request.message.payload);
        }
        request
    }

    /// The way on for a request of the other end: it goes back, as one that is declined at once, with the
    /// place that it is to be sent to.
    fn way_back(&self, message: &Message) -> Leave {
        let (line, message) = (Arc::clone(&self.line), message.clone());
        let answers = self.answers.clone();
        Leave::Message(Box::new(move |place, waited| {
            // What the reader has to say goes first, and may not find it full.
            if answers.queue.capacity() < ANSWERS / 2 {
                return false;
            }
            let mut message = line.as_it_came(again_late(&message, waited.arrived));
            header::write_place(message.headers.get_or_insert_default(), place);
            let request = Request {
                message,
                local_only: false,
            };
            answers.send(Frame::Declined(request)).is_ok()
        }))
    }

    fn answer(&self, frame: Frame) -> Result<(), LineError> {
        self.answers.send(frame)
    }
}

/// Writes what comes to be sent, as much at a time as is there, and what waits at the end.
async fn write(
    mut output: OwnedWriteHalf,
    mut queue: Receiver<Frame>,
    mut answers: Receiver<(Frame, Kept)>,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    // What is kept for the answers among them until they are written.
    let mut kept = Vec::new();
    loop {
        // Both queues end with this line only.
        let first = tokio::select! {
            biased;
            answer = answers.recv() => answer.map(|answer| noted(answer, &mut kept)),
            frame = queue.recv() => frame,
            () = stop.cancelled() => None,
        };
        let is_last = first.is_none();
        batch.extend(first);
        if is_last {
            queue.close();
        }
        if queue.len() < ENOUGH && !is_last {
            // tokio runs whoever is ready before a task that yields.
            tokio::task::yield_now().await;
        }
        while (batch.len() < BATCH || is_last)
            && let Some(frame) = next(&mut answers, &mut queue, &mut kept)
        {
            batch.push(frame);
        }
        write_all(&mut output, batch.drain(..)).await?;
        kept.clear();
        if is_last {
            return Ok(());
        }
    }
}

fn next(
    answers: &mut Receiver<(Frame, Kept)>,
    queue: &mut Receiver<Frame>,
    kept: &mut Vec<Kept>,
) -> Option<Frame> {
    match answers.try_recv() {
        Ok(answer) => Some(noted(answer, kept)),
        Err(_) => queue.try_recv().ok(),
    }
}

fn noted((frame, held): (Frame, Kept), kept: &mut Vec<Kept>) -> Frame {
    kept.push(held);
    frame
}

async fn write_all(
    output: &mut OwnedWriteHalf,
    frames: impl Iterator<Item = Frame>,
) -> io::Result<()> {
    let now = Instant::now();
    let mut buffer = BytesMut::with_capacity(READ);
    for frame in frames.filter(|frame| !is_late(frame, now)) {
        let payload = frame.write(&mut buffer);
        if payload.len() <= COPIED {
            buffer.extend_from_slice(&payload);
        } else {
            output
                .write_all_buf(&mut buffer.split().chain(payload))
                .await?;
        }
        if buffer.len() >= BATCH_BYTES {
            output.write_all_buf(&mut buffer.split()).await?;
        }
    }
    output.write_all_buf(&mut buffer).await
}

/// Whether nobody waits for the answer to a request any more.
fn is_late(frame: &Frame, now: Instant) -> bool {
    match frame {
        Frame::Request(request) => request.message.deadline.is_some_and(|by| by <= now),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
