//! Takes out of answers what the prefixes of a link hide.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use lattice_codec::{DecodeError, Path, Reader, write};
use lattice_core::rules::matches_prefix;
use lattice_runtime::{ByteStream, InvokeError, StreamingReply};

/// The longest name, in bytes. What waits for the rest of one is no more than that.
const MAX_NAME: usize = 64 << 10;

/// No answer passes that cannot be looked through.
fn unreadable(error: &DecodeError) -> InvokeError {
    InvokeError::Transport {
        what: format!("the answer cannot be looked through for the rule `prefix`: {error}"),
        source: None,
    }
}

/// `result<key-response, _>` of any draft: what follows the keys stays as it is.
pub(super) fn keys(prefixes: &[String], reply: Bytes) -> Result<Bytes, InvokeError> {
    let read = |reply: &Bytes| {
        let mut reader = Reader::new(reply.clone());
        if reader.result_is_err()? {
            return Ok(reply.clone());
        }
        let keys = strings(&mut reader)?;
        let mut out = BytesMut::with_capacity(reply.len());
        out.extend_from_slice(&reply[..1]);
        put_strings(
            &mut out,
            keys.iter().filter(|key| matches_prefix(prefixes, key)),
        );
        out.extend_from_slice(&reply[reader.position()..]);
        Ok(out.freeze())
    };
    read(&reply).map_err(|error| unreadable(&error))
}

/// `result<list<job>, _>`.
pub(super) fn jobs(prefixes: &[String], reply: Bytes) -> Result<Bytes, InvokeError> {
    let read = |reply: &Bytes| {
        let mut reader = Reader::new(reply.clone());
        if reader.result_is_err()? {
            return Ok(reply.clone());
        }
        let mut kept = Vec::new();
        for _ in 0..reader.count(4)? {
            let start = reader.position();
            let name = reader.string()?;
            skip_job(&mut reader)?;
            if matches_prefix(prefixes, &name) {
                kept.push(start..reader.position());
            }
        }
        let mut out = BytesMut::with_capacity(reply.len());
        out.extend_from_slice(&reply[..1]);
        write::uleb(&mut out, kept.len() as u64);
        kept.into_iter()
            .for_each(|job| out.extend_from_slice(&reply[job]));
        out.extend_from_slice(&reply[reader.position()..]);
        Ok(out.freeze())
    };
    read(&reply).map_err(|error| unreadable(&error))
}

/// What follows the name in a `job`: trigger, time zone, payload.
fn skip_job(r: &mut Reader) -> Result<(), DecodeError> {
    match r.case("trigger", 3)? {
        0 => drop(r.bytes()?),
        _ => drop(r.u64()?),
    }
    r.option(Reader::bytes)?;
    r.bytes().map(drop)
}

fn strings(r: &mut Reader) -> Result<Vec<String>, DecodeError> {
    (0..r.count(1)?).map(|_| r.string()).collect()
}

fn put_strings<'a>(out: &mut BytesMut, kept: impl Iterator<Item = &'a String> + Clone) {
    write::uleb(out, kept.clone().count() as u64);
    kept.for_each(|text| write::string(out, text));
}

/// A stream of names, which stands in the answer like a list, or follows on a path when the list is
/// empty.
pub(super) fn names(
    prefixes: &[String],
    path: Option<&Path>,
    mut reply: StreamingReply,
) -> Result<StreamingReply, InvokeError> {
    let narrowed = inline(prefixes, &reply.results).map_err(|error| unreadable(&error))?;
    let Some((results, were_inline)) = narrowed else {
        return Ok(reply);
    };
    reply.results = results;
    let own = |(known, _): &&mut (Path, ByteStream)| Some(known) == path;
    if let Some((_, names)) = reply.streams.iter_mut().find(own) {
        let whole = std::mem::replace(names, Box::pin(stream::empty()));
        // Of names that were all in the answer, none follow, also when none are left of them.
        if !were_inline {
            *names = narrow(prefixes.to_vec(), whole);
        }
    }
    Ok(reply)
}

/// Names that all stand in the answer.
pub(super) fn whole_names(prefixes: &[String], reply: Bytes) -> Result<Bytes, InvokeError> {
    let narrowed = inline(prefixes, &reply).map_err(|error| unreadable(&error))?;
    Ok(narrowed.map_or(reply, |(results, _)| results))
}

/// The results with the names in them narrowed, and whether there were any. `None` for an error,
/// which stays as it is.
fn inline(prefixes: &[String], results: &Bytes) -> Result<Option<(Bytes, bool)>, DecodeError> {
    let mut reader = Reader::new(results.clone());
    if reader.result_is_err()? {
        return Ok(None);
    }
    let names = strings(&mut reader)?;
    let mut out = BytesMut::with_capacity(results.len());
    out.extend_from_slice(&results[..1]);
    put_strings(
        &mut out,
        names.iter().filter(|name| matches_prefix(prefixes, name)),
    );
    out.extend_from_slice(&results[reader.position()..]);
    Ok(Some((out.freeze(), !names.is_empty())))
}

/// Passes on those names of a stream that begin with a prefix.
fn narrow(prefixes: Vec<String>, source: ByteStream) -> ByteStream {
    let names = Names {
        prefixes,
        source,
        buffer: Bytes::new(),
        left: 0,
        kept: VecDeque::new(),
        ended: false,
    };
    Box::pin(stream::try_unfold(names, |mut names| async move {
        Ok(names.next().await?.map(|chunk| (chunk, names)))
    }))
}

struct Names {
    prefixes: Vec<String>,
    source: ByteStream,
    buffer: Bytes,
    /// How many names of the present chunk are still to come.
    left: usize,
    kept: VecDeque<String>,
    ended: bool,
}

impl Names {
    /// The next chunk, with at least one name in it; an empty one where the stream ends by that.
    async fn next(&mut self) -> Result<Option<Bytes>, InvokeError> {
        loop {
            while !self.ended && self.step()? {}
            if !self.kept.is_empty() {
                let mut out = BytesMut::new();
                let kept: Vec<_> = self.kept.drain(..).collect();
                put_strings(&mut out, kept.iter());
                return Ok(Some(out.freeze()));
            }
            if self.ended {
                return Ok(None);
            }
            match self.source.next().await {
                Some(bytes) => self.append(bytes?),
                None if self.left > 0 || !self.buffer.is_empty() => {
                    return Err(InvokeError::Transport {
                        what: "the answer was cut off".to_owned(),
                        source: None,
                    });
                }
                None => self.ended = true,
            }
        }
    }

    /// Reads a count or a name, if all of it is there.
    fn step(&mut self) -> Result<bool, InvokeError> {
        let mut reader = Reader::new(self.buffer.clone()).with_limit(u32::MAX.into());
        let read = if self.left == 0 {
            reader.u32().map(|count| {
                self.left = count as usize;
                self.ended = count == 0;
            })
        } else {
            reader.string().map(|name| {
                self.left -= 1;
                if matches_prefix(&self.prefixes, &name) {
                    self.kept.push_back(name);
                }
            })
        };
        match read {
            Ok(()) => self.buffer.advance(reader.position()),
            Err(DecodeError::Incomplete { .. }) if self.buffer.len() <= MAX_NAME => {
                return Ok(false);
            }
            Err(error) => return Err(unreadable(&error)),
        }
        Ok(true)
    }

    fn append(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = bytes;
            return;
        }
        let mut joined = BytesMut::with_capacity(self.buffer.len() + bytes.len());
        joined.extend_from_slice(&self.buffer);
        joined.extend_from_slice(&bytes);
        self.buffer = joined.freeze();
    }
}
