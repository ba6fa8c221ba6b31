//! Sending a value in messages that NATS takes.

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;

use crate::auth;
use crate::error::CallError;
use crate::peer::Peer;

/// Room left for the header line, the end of the header block and what a server adds.
const SLACK: usize = 64;

/// How many bytes the headers take on the wire.
pub(crate) fn header_len(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .flat_map(|(name, values)| {
            let name: &[u8] = name.as_ref();
            values
                .iter()
                .map(move |value| name.len() + value.as_str().len() + 4)
        })
        .sum()
}

/// The largest payload that fits one message with these headers and this reply subject.
pub(crate) fn room(peer: &Peer, headers: Option<&HeaderMap>, reply: &str) -> usize {
    let taken = headers.map_or(0, header_len) + reply.len() + SLACK;
    peer.nats().max_payload().saturating_sub(taken).max(1)
}

/// The same for a request, which may get a proof of who makes it on its way out.
pub(crate) fn room_for_request(peer: &Peer, headers: &HeaderMap, reply: &str) -> usize {
    let proof = peer.inner.config.auth.as_ref().map_or(0, |_| auth::ROOM);
    room(peer, Some(headers), reply)
        .saturating_sub(proof)
        .max(1)
}

/// Sends all of `data` in as many messages as it takes. Empty data sends nothing.
pub(crate) async fn send_all(
    peer: &Peer,
    subject: &Subject,
    mut data: Bytes,
) -> Result<(), CallError> {
    let room = room(peer, None, "");
    while !data.is_empty() {
        let part = data.split_to(room.min(data.len()));
        peer.publish(subject.clone(), None, part).await?;
    }
    Ok(())
}
