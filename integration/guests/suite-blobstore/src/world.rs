//! What cases share: settings, containers of their own, and the work of reading and writing.

use std::cell::RefCell;
use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::bindings::exports::lattice::conformance::suite::{Failure, Setting};
use crate::bindings::wasi::blobstore::blobstore;
use crate::bindings::wasi::blobstore::container::Container;
use crate::bindings::wasi::blobstore::types::{IncomingValue, ObjectId, OutgoingValue};
use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};

/// How much is read or written at once.
const PIECE: u64 = 64 << 10;

/// The result of a case, or of a step of one.
pub(crate) type Step<T = ()> = Result<T, Failure>;

/// What a case works with.
pub(crate) struct World {
    /// What the names of its containers begin with; nobody else's do.
    prefix: String,
    settings: Vec<Setting>,
    /// Containers to be deleted at the end.
    made: RefCell<Vec<String>>,
}

/// The case does not hold.
pub(crate) fn failed<T>(text: impl Into<String>) -> Step<T> {
    Err(Failure::Failed(text.into()))
}

/// Says what was done when an error came.
pub(crate) fn expect<T>(what: &str, result: Result<T, String>) -> Step<T> {
    result.map_err(|error| Failure::Failed(format!("{what}: {error}")))
}

/// Something has to be an error.
pub(crate) fn expect_error<T>(what: &str, result: Result<T, String>) -> Step<String> {
    match result {
        Ok(_) => failed(format!("{what} should be an error")),
        Err(error) if error.is_empty() => failed(format!("{what}: the error says nothing")),
        Err(error) => Ok(error),
    }
}

/// Two values have to be the same.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, got: T, wanted: T) -> Step {
    if got == wanted {
        return Ok(());
    }
    failed(format!("{what}: wanted {wanted:?}, got {got:?}"))
}

/// Something has to be so.
pub(crate) fn holds(what: &str, so: bool) -> Step {
    if so { Ok(()) } else { failed(what) }
}

/// The name of an object.
pub(crate) fn id(container: &str, object: &str) -> ObjectId {
    ObjectId {
        container: container.to_owned(),
        object: object.to_owned(),
    }
}

impl World {
    /// That of the case at a place of the list.
    pub(crate) fn new(at: usize, settings: Vec<Setting>) -> Self {
        let run = settings.iter().find(|setting| setting.name == "run");
        let run = run.map_or("run", |setting| setting.value.as_str());
        Self {
            prefix: format!("{}-{at}", run.to_ascii_lowercase()),
            settings,
            made: RefCell::default(),
        }
    }

    /// A number that the driver may set.
    pub(crate) fn number(&self, name: &str, default: usize) -> usize {
        let set = self.settings.iter().find(|setting| setting.name == name);
        set.and_then(|setting| setting.value.parse().ok())
            .unwrap_or(default)
    }

    /// What the provider tells of a feature.
    pub(crate) fn feature(&self, name: &str) -> Option<&str> {
        let known = |setting: &&Setting| setting.name.strip_prefix("feature:") == Some(name);
        let setting = self.settings.iter().find(known)?;
        Some(&setting.value)
    }

    /// A name for a container.
    pub(crate) fn name(&self, suffix: &str) -> String {
        let name = format!("{}-{suffix}", self.prefix);
        self.made.borrow_mut().push(name.clone());
        name
    }

    /// A new container.
    pub(crate) fn container(&self, suffix: &str) -> Step<Container> {
        let name = self.name(suffix);
        expect("create-container", blobstore::create_container(&name))
    }

    /// Deletes what the case has made.
    pub(crate) fn leave(&self) {
        for name in self.made.take() {
            // What matters of deleting has a case of its own.
            let _ = blobstore::delete_container(&name);
        }
    }
}

/// Writes all bytes, waiting for room.
pub(crate) fn put(stream: &OutputStream, mut data: &[u8]) -> Result<(), String> {
    while !data.is_empty() {
        let room = stream.check_write().map_err(told)?;
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let size = usize::try_from(room).unwrap_or(usize::MAX).min(data.len());
        let (piece, rest) = data.split_at(size);
        stream.write(piece).map_err(told)?;
        data = rest;
    }
    Ok(())
}

/// Why a stream failed.
pub(crate) fn told(error: StreamError) -> String {
    match error {
        StreamError::Closed => "the stream is closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    }
}

/// The stream that a value is written to.
pub(crate) fn body(value: &OutgoingValue) -> Result<OutputStream, String> {
    value
        .outgoing_value_write_body()
        .map_err(|()| "the value gave no stream".to_owned())
}

/// Writes an object.
pub(crate) fn write(container: &Container, name: &str, data: &[u8]) -> Result<(), String> {
    let value = OutgoingValue::new_outgoing_value();
    let stream = body(&value)?;
    container.write_data(name, &value)?;
    let sent = put(&stream, data);
    drop(stream);
    // How the write ended says more than that its stream was closed.
    OutgoingValue::finish(value)?;
    sent
}

/// Reads from a stream to its end, a piece at a time.
pub(crate) fn drain(stream: &InputStream, mut take: impl FnMut(&[u8])) -> Result<(), String> {
    loop {
        match stream.blocking_read(PIECE) {
            Ok(piece) => take(&piece),
            Err(StreamError::Closed) => return Ok(()),
            Err(error) => return Err(told(error)),
        }
    }
}

/// Reads a range of an object as a stream.
pub(crate) fn read(
    container: &Container,
    name: &str,
    start: u64,
    end: u64,
) -> Result<Vec<u8>, String> {
    let value = container.get_data(name, start, end)?;
    let stream = IncomingValue::incoming_value_consume_async(value)?;
    let mut all = Vec::new();
    drain(&stream, |piece| all.extend_from_slice(piece))?;
    Ok(all)
}

/// Reads a whole object.
pub(crate) fn read_all(container: &Container, name: &str) -> Result<Vec<u8>, String> {
    read(container, name, 0, u64::MAX)
}

/// An object has to have these data.
pub(crate) fn has_data(container: &Container, name: &str, wanted: &[u8]) -> Step {
    let got = expect(&format!("reading `{name}`"), read_all(container, name))?;
    if got == wanted {
        return Ok(());
    }
    failed(format!(
        "`{name}` should have {} bytes and has {}, or others",
        wanted.len(),
        got.len()
    ))
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(pattern_at).collect()
}

/// The byte at a place of the pattern.
pub(crate) fn pattern_at(at: usize) -> u8 {
    // Neither a power of two nor a divisor of one repeats it.
    ((at % 251) ^ (at / 65_521)) as u8
}

/// A time has to be about now, in seconds since 1970.
pub(crate) fn is_now(what: &str, time: u64) -> Step {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let near = now.saturating_sub(300)..=now + 300;
    holds(
        &format!("{what} should be about {now}, in seconds, and is {time}"),
        near.contains(&time),
    )
}
