//! One ordered byte stream of a call.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::budget::{Account, Exhausted, Share};
use super::early::Early;
use crate::bulk::Offset;

/// A longer piece stays a part of what was read from the connection. Shorter ones are copied, so that
/// they do not keep all of that, and put together, so that each does not cost more than it carries.
const COPIED: usize = 16 * 1024;

/// What a piece is charged for besides its bytes: its place in the queue and what owns it.
const OVERHEAD: usize = 128;

/// A piece of a stream, and its share of the budget, which a reader that collects pieces keeps.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) data: Bytes,
    pub(crate) share: Share,
}

/// What has come of a stream, in order.
pub(crate) type Pieces = VecDeque<Piece>;

/// One ordered byte stream of a call.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    queue: Pieces,
    /// What comes after the queue, to which short pieces are added.
    tail: Option<(BytesMut, Share)>,
    /// What comes over the connection for long streams, once something has.
    early: Option<Box<Early>>,
    buffered: usize,
    received: u64,
    ended: bool,
    /// Whether nobody reads it any more.
    unread: bool,
}

/// Why a message cannot be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It may not be held.
    Exhausted(Exhausted),
    /// It does not follow what has come: something between was lost, or was sent twice.
    Gap,
}

impl From<Exhausted> for Refused {
    fn from(exhausted: Exhausted) -> Self {
        Self::Exhausted(exhausted)
    }
}

impl Channel {
    pub(crate) fn ended() -> Self {
        Self {
            ended: true,
            ..Self::default()
        }
    }

    /// Appends a piece; an empty one ends the stream.
    pub(crate) fn push(&mut self, data: Bytes, account: &Arc<Account>) -> Result<(), Refused> {
        if self.early.is_none() {
            return Ok(self.push_next(data, account)?);
        }
        let open = self
            .early
            .as_ref()
            .map_or(0, |early| early.open(self.received));
        if data.is_empty() || data.len() as u64 > open {
            return Err(Refused::Gap);
        }
        self.push_next(data, account)?;
        self.take_over();
        Ok(())
    }

    fn push_next(&mut self, data: Bytes, account: &Arc<Account>) -> Result<(), Exhausted> {
        if data.is_empty() {
            self.ended = true;
        } else if !self.ended {
            let size = data.len();
            self.append(data, account)?;
            self.buffered += size;
            self.received += size as u64;
        }
        Ok(())
    }

    /// Appends the last piece of a stream, which tells how many bytes come before it.
    pub(crate) fn push_last(
        &mut self,
        at: u64,
        data: Bytes,
        account: &Arc<Account>,
    ) -> Result<(), Refused> {
        if at != self.received && !self.ended {
            return Err(Refused::Gap);
        }
        self.push(data, account)
    }

    /// Takes in a piece that came over the connection for long streams. Some of what is before it may
    /// still be on its way over the other.
    pub(crate) fn push_long(
        &mut self,
        offset: Offset,
        data: Bytes,
        account: &Arc<Account>,
    ) -> Result<(), Refused> {
        let Offset { at, from } = offset;
        let is_behind = self.early.is_none() && (from < self.received || self.ended);
        let early = self.early.get_or_insert_with(|| Box::new(Early::at(from)));
        if is_behind || !early.takes(at, data.len()) {
            return Err(Refused::Gap);
        }
        if at == self.received {
            return Ok(self.push_next(data, account)?);
        }
        let share = account.take(data.len() + OVERHEAD)?;
        self.buffered += data.len();
        early.keep(Piece { data, share });
        Ok(())
    }

    /// Has those pieces follow that waited for what has just come.
    fn take_over(&mut self) {
        let Some(early) = &mut self.early else {
            return;
        };
        let due = early.due(self.received);
        if !due.is_empty() {
            self.close_tail();
        }
        for piece in due {
            self.ended |= piece.data.is_empty();
            self.received += piece.data.len() as u64;
            if !piece.data.is_empty() {
                self.queue.push_back(piece);
            }
        }
    }

    fn append(&mut self, data: Bytes, account: &Arc<Account>) -> Result<(), Exhausted> {
        if let Some((tail, share)) = &mut self.tail
            && tail.len() + data.len() <= COPIED
        {
            share.join(account.take(data.len())?);
            tail.extend_from_slice(&data);
            return Ok(());
        }
        let share = account.take(data.len() + OVERHEAD)?;
        self.close_tail();
        if data.len() <= COPIED {
            self.tail = Some((BytesMut::from(&data[..]), share));
        } else {
            self.queue.push_back(Piece { data, share });
        }
        Ok(())
    }

    fn close_tail(&mut self) {
        if let Some((tail, share)) = self.tail.take() {
            let data = tail.freeze();
            self.queue.push_back(Piece { data, share });
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let data = match self.queue.pop_front() {
            Some(piece) => piece.data,
            None => self.tail.take()?.0.freeze(),
        };
        self.buffered -= data.len();
        Some(data)
    }

    /// Takes every piece that waits.
    pub(crate) fn pop_pieces(&mut self) -> Pieces {
        self.close_tail();
        self.buffered = 0;
        std::mem::take(&mut self.queue)
    }

    /// Takes everything that waits as one piece.
    pub(crate) fn pop_all(&mut self) -> Bytes {
        let whole = self.buffered;
        let first = self.pop().unwrap_or_default();
        if first.len() == whole {
            return first;
        }
        let mut all = BytesMut::with_capacity(whole);
        all.extend_from_slice(&first);
        while let Some(part) = self.pop() {
            all.extend_from_slice(&part);
        }
        all.freeze()
    }

    /// Keeps nothing of what comes from now on, but counts it.
    pub(crate) fn leave_unread(&mut self) {
        self.unread = true;
        self.drop_unread();
    }

    /// Drops what nobody will read. What waits for something before it does so until then.
    pub(crate) fn drop_unread(&mut self) {
        while self.unread && self.pop().is_some() {}
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.tail = None;
        if let Some(early) = &mut self.early {
            early.clear();
        }
        self.buffered = 0;
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// How many bytes wait for the reader.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// How many bytes have come in all.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use crate::exchange::Budget;

    fn account(limit: usize) -> (Arc<Budget>, Arc<Account>) {
        let budget = Arc::new(Budget::new(2 * limit));
        let account = Account::new(&budget, limit);
        (budget, account)
    }

    #[test]
    fn streams_of_a_call_share_what_it_may_hold() {
        let (budget, account) = account(1000);
        let (mut one, mut other) = (Channel::default(), Channel::default());
        let piece = Bytes::from_static(&[7; 500]);
        one.push(piece.clone(), &account).unwrap();
        assert!(other.push(piece.clone(), &account).is_err());
        assert_eq!(one.pop().unwrap(), piece);
        other.push(piece, &account).unwrap();
        assert_eq!(budget.held(), 500 + OVERHEAD);
        drop(other);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_byte_at_a_time_takes_about_as_much_as_at_once() {
        let (budget, account) = account(1 << 20);
        let mut channel = Channel::default();
        // What was read from a connection.
        let read = Bytes::from(vec![7; 256 * 1024]);
        for at in 0..read.len() {
            channel.push(read.slice(at..=at), &account).unwrap();
        }
        assert!(read.is_unique(), "kept by its pieces");
        let pieces = read.len() / COPIED;
        assert_eq!(channel.queue.len() + 1, pieces);
        assert_eq!(budget.held(), read.len() + pieces * OVERHEAD);
        assert_eq!(channel.pop_all(), read);
        assert_eq!((budget.held(), channel.buffered()), (0, 0));
    }

    #[test]
    fn each_piece_is_charged_for_what_keeping_it_takes() {
        let (budget, account) = account(1 << 20);
        let mut channel = Channel::default();
        for _ in 0..10 {
            channel
                .push(Bytes::from_static(&[7; COPIED]), &account)
                .unwrap();
        }
        assert_eq!(budget.held(), 10 * (COPIED + OVERHEAD));
        assert_eq!(channel.pop_pieces().len(), 10);
        assert_eq!(budget.held(), 0);
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_popped_in_order(
            sizes in prop::collection::vec((1..3 * COPIED, 0..3_u8), 0..40),
        ) {
            let (budget, account) = account(1 << 30);
            let mut channel = Channel::default();
            let (mut pushed, mut popped) = (Vec::new(), Vec::new());
            for (at, (size, take)) in sizes.into_iter().enumerate() {
                let piece = vec![at as u8; size];
                pushed.extend_from_slice(&piece);
                channel.push(piece.into(), &account).unwrap();
                match take {
                    0 => popped.extend(channel.pop().into_iter().flatten()),
                    1 => popped.extend(channel.pop_pieces().into_iter().flat_map(|piece| piece.data)),
                    _ => {}
                }
                prop_assert_eq!(popped.len() + channel.buffered(), pushed.len());
            }
            popped.extend(channel.pop_all());
            prop_assert!(popped == pushed);
            prop_assert_eq!(budget.held(), 0);
        }
    }

    proptest! {
        /// Two connections keep their order each, and neither that of the other.
        #[test]
        fn what_comes_over_two_connections_is_put_in_order(
            parts in prop::collection::vec(1..40_usize, 1..30),
            switch in any::<prop::sample::Index>(),
            turns in prop::collection::vec(any::<bool>(), 60),
        ) {
            let (_budget, account) = account(1 << 20);
            let switch = switch.index(parts.len());
            let mut offset = 0;
            let mut sent = Vec::new();
            for size in parts {
                let part: Vec<u8> = (offset..offset + size).map(|at| at as u8).collect();
                sent.push((offset as u64, Bytes::from(part)));
                offset += size;
            }
            let whole: Vec<u8> = (0..offset).map(|at| at as u8).collect();
            sent.push((offset as u64, Bytes::new()));
            let from = sent[switch].0;
            let mut long = sent.split_off(switch).into_iter();
            let mut short = sent.into_iter();
            let mut channel = Channel::default();
            let mut received = Vec::new();
            for is_long in turns.into_iter().chain([true; 31]).chain([false; 31]) {
                match is_long {
                    true => if let Some((at, part)) = long.next() {
                        channel.push_long(Offset { at, from }, part, &account).unwrap();
                    },
                    false => if let Some((_, part)) = short.next() {
                        prop_assert!(!channel.is_ended());
                        channel.push(part, &account).unwrap();
                    },
                }
                while let Some(data) = channel.pop() {
                    received.extend_from_slice(&data);
                }
            }
            prop_assert!(channel.is_ended());
            prop_assert_eq!(channel.buffered(), 0);
            prop_assert_eq!(received, whole);
        }
    }

    #[test]
    fn the_last_piece_tells_whether_one_before_it_was_lost() {
        let (_budget, account) = account(1 << 20);
        let after = |at: u64, last: &'static [u8]| {
            let mut channel = Channel::default();
            channel
                .push(Bytes::from_static(b"0123456789"), &account)
                .unwrap();
            let pushed = channel.push_last(at, Bytes::from_static(last), &account);
            (pushed, channel.is_ended())
        };
        assert_eq!(after(10, b""), (Ok(()), true));
        assert_eq!(after(10, b"0"), (Ok(()), false));
        for at in [0, 9, 11, u64::MAX] {
            assert_eq!(after(at, b""), (Err(Refused::Gap), false), "{at}");
            assert_eq!(after(at, b"0"), (Err(Refused::Gap), false), "{at}");
        }
    }

    #[test]
    fn what_does_not_follow_is_a_gap() {
        let (_budget, account) = account(1 << 20);
        let part = |size| Bytes::from(vec![1; size]);
        let after = |lane: &[(Option<(u64, u64)>, usize)]| {
            let mut channel = Channel::default();
            let mut pushed = Ok(());
            for (offset, size) in lane {
                assert_eq!(pushed, Ok(()), "{lane:?}");
                pushed = match offset {
                    Some((at, from)) => {
                        let offset = Offset {
                            at: *at,
                            from: *from,
                        };
                        channel.push_long(offset, part(*size), &account)
                    }
                    None => channel.push(part(*size), &account),
                };
            }
            pushed
        };
        for lane in [
            &[(None, 10), (Some((9, 9)), 5)][..],
            &[(None, 10), (Some((10, 10)), 5), (Some((16, 10)), 5)],
            &[(None, 10), (Some((10, 10)), 5), (Some((10, 10)), 5)],
            &[(None, 10), (Some((10, 10)), 5), (None, 1)],
            &[(Some((10, 10)), 5), (None, 11)],
            &[(Some((10, 10)), 5), (None, 0)],
            &[(None, 10), (None, 0), (Some((10, 10)), 5)],
            // What came first there was lost.
            &[(None, 10), (Some((15, 10)), 5)],
        ] {
            assert_eq!(after(lane), Err(Refused::Gap), "{lane:?}");
        }
    }
}
