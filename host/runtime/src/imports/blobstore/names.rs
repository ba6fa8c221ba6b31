//! `stream-object-names`: the names of the objects in a container, page by page.

use lattice_codec::{DecodeError, Reader};
use tokio::task::yield_now;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};

use super::budget::{Budget, Held};
use super::chunks::{Items, Outcome, read_result, take};
use super::{Container, name, open};
use crate::StreamingReply;
use crate::codec::Plan;
use crate::imports::{FromInvoke as _, chain};
use crate::store::Ctx;

/// How many names one call of the guest may ask for.
const MAX_NAMES: u64 = 10_000;

/// After how many names that are there already others may run.
const AT_ONCE: u64 = 10_000;

/// `stream-object-names`.
pub(super) struct ObjectNames {
    items: Items,
    outcome: Option<Outcome>,
    /// For what came with the answer.
    _held: Held,
}

pub(super) fn link(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    type Names = Resource<ObjectNames>;
    instance.resource(
        "stream-object-names",
        ResourceType::host::<ObjectNames>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<ObjectNames>::new_own(rep))?;
            Ok(())
        },
    )?;
    instance.func_wrap_async(
        "[method]container.list-objects",
        |mut store, (handle,): (Resource<Container>,)| {
            Box::new(async move {
                let first = store.data().table.get(&handle)?.version;
                let params = (name(store.data(), &handle)?, None::<u64>, None::<u64>);
                let outbound = store.data().outbound();
                let plan = || Plan::list(Plan::String);
                let reply = open(outbound, "list-container-objects", &params, plan, first).await;
                let budget = store.data_mut().writing();
                let names = match reply {
                    Ok((reply, version)) => ObjectNames::from_reply(reply, version, &budget).await,
                    Err(error) => Err(error),
                };
                Ok((match names {
                    Ok(names) => Ok(store.data_mut().table.push(names)?),
                    Err(error) => Err(error),
                },))
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]stream-object-names.read-stream-object-names",
        |mut store, (names, len): (Names, u64)| {
            Box::new(async move {
                let names = store.data_mut().table.get_mut(&names)?;
                Ok((names.read(len).await,))
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]stream-object-names.skip-stream-object-names",
        |mut store, (names, len): (Names, u64)| {
            Box::new(async move {
                let names = store.data_mut().table.get_mut(&names)?;
                Ok((names.skip(len).await,))
            })
        },
    )
}

/// Moves `r` behind a text without making one: of those that are inline there may be millions.
fn pass_text(r: &mut Reader) -> Result<(), DecodeError> {
    let raw = r.bytes()?;
    match std::str::from_utf8(&raw) {
        Ok(_) => Ok(()),
        Err(_) => Err(DecodeError::InvalidText),
    }
}

/// Lets others run, and the call end that is over, each time that so many names more have been passed.
async fn pause_after(passed: u64) {
    if passed.is_multiple_of(AT_ONCE) {
        yield_now().await;
    }
}

impl ObjectNames {
    /// Understands the answer to `list-container-objects` in either version.
    async fn from_reply(
        mut reply: StreamingReply,
        version: usize,
        budget: &Budget,
    ) -> Result<Self, String> {
        let parse = |error: DecodeError| String::from_invoke(&error);
        let mut reader = Reader::new(reply.results.clone());
        if reader.result_is_err().map_err(parse)? {
            return Err(reader.string().map_err(parse)?);
        }
        let held = budget.hold(reply.results.len())?;
        let count = reader.count(1).map_err(parse)?;
        let start = reader.position();
        for passed in 1..=count as u64 {
            pass_text(&mut reader).map_err(parse)?;
            pause_after(passed).await;
        }
        let inline = reply.results.slice(start..reader.position());
        let outcome = match version {
            0 if reader.future_is_ready().map_err(parse)? => {
                Some(Outcome::Ready(read_result(&mut reader).map_err(parse)?))
            }
            0 => take(&mut reply, &[0, 1]).map(Outcome::Pending),
            _ => None,
        };
        let items = if count == 0 {
            let names_path: &[u32] = if version == 0 { &[0, 0] } else { &[0] };
            Items::pending(take(&mut reply, names_path))
        } else {
            Items::ready(count, inline)
        };
        Ok(Self {
            items,
            outcome,
            _held: held,
        })
    }

    async fn next(&mut self) -> Result<Option<String>, String> {
        if let Some(name) = self
            .items
            .next_string()
            .await
            .map_err(|error| chain(&error))?
        {
            return Ok(Some(name));
        }
        match self.outcome.take() {
            Some(outcome) => outcome.wait().await.map(|()| None),
            None => Ok(None),
        }
    }

    /// Reads names; true when there are no more.
    async fn read(&mut self, len: u64) -> Result<(Vec<String>, bool), String> {
        let mut names = Vec::new();
        for _ in 0..len.min(MAX_NAMES) {
            match self.next().await? {
                Some(name) => names.push(name),
                None => return Ok((names, true)),
            }
        }
        Ok((names, false))
    }

    /// Passes over names; true when there are no more.
    async fn skip(&mut self, len: u64) -> Result<(u64, bool), String> {
        for skipped in 0..len {
            if self.next().await?.is_none() {
                return Ok((skipped, true));
            }
            pause_after(skipped + 1).await;
        }
        Ok((len, false))
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use futures::{FutureExt as _, StreamExt as _, stream};
    use lattice_codec::write;

    use super::*;

    async fn names(results: &'static [u8]) -> Result<ObjectNames, String> {
        names_within(&Budget::new(100), results).await
    }

    async fn names_within(budget: &Budget, results: &'static [u8]) -> Result<ObjectNames, String> {
        ObjectNames::from_reply(reply(Bytes::from_static(results)), 1, budget).await
    }

    fn reply(results: Bytes) -> StreamingReply {
        StreamingReply {
            results,
            streams: Vec::new(),
        }
    }

    #[tokio::test]
    async fn names_that_come_with_the_answer_are_read_one_by_one() {
        let mut three = names(b"\x00\x03\x01a\x02bc\x00").await.unwrap();
        let all = ["a", "bc", ""].map(str::to_owned).to_vec();
        assert_eq!(three.read(2).await.unwrap(), (all[..2].to_vec(), false));
        assert_eq!(three.read(9).await.unwrap(), (all[2..].to_vec(), true));
        assert!(names(b"\x00\x02\x01a\x01\xff").await.is_err());
        assert!(names(b"\x00\x02\x01a").await.is_err());
    }

    #[tokio::test]
    async fn others_run_while_very_many_names_are_passed_over() {
        let piece = || Ok(Bytes::from_static(b"\x01\x01a"));
        let many = stream::repeat_with(piece).take(25_000);
        let mut names = ObjectNames {
            items: Items::pending(Some(Box::pin(many))),
            outcome: None,
            _held: Budget::new(0).hold_all(0),
        };
        assert_eq!(names.skip(u64::MAX).now_or_never(), None);
        let (rest, is_end) = names.skip(u64::MAX).await.unwrap();
        assert!(is_end && rest < 25_000, "{rest}");
    }

    #[tokio::test]
    async fn others_run_while_an_answer_with_very_many_names_is_looked_at() {
        let mut results = BytesMut::new();
        write::bool(&mut results, false);
        write::uleb(&mut results, 25_000);
        // Each of them is empty.
        results.resize(results.len() + 25_000, 0);
        let (results, budget) = (results.freeze(), Budget::new(100_000));
        let read = || ObjectNames::from_reply(reply(results.clone()), 1, &budget);
        assert!(read().now_or_never().is_none());
        assert_eq!(
            read().await.unwrap().skip(u64::MAX).await,
            Ok((25_000, true))
        );
    }

    #[tokio::test]
    async fn names_that_are_kept_count_towards_what_a_call_holds() {
        let budget = Budget::new(10);
        let list = || names_within(&budget, b"\x00\x02\x01a\x02bc");
        let kept = list().await.unwrap();
        let refused = list().await.err().unwrap();
        assert!(refused.contains("10 bytes"), "{refused}");
        drop(kept);
        assert!(list().await.is_ok());
    }
}
