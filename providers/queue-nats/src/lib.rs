//! Queues for components, kept in NATS JetStream, on every server from 2.9 on.
//!
//! A link with this provider as target of `lattice:queue` lets its component send and receive; one
//! with it as source has the component's handler called. See [`settings`] for what links say.
//!
//! # Queues
//!
//! Each queue is a work-queue stream, which is made when a link of the queue is put; other queues
//! that a component names have to be there unless the link says `create`. Messages are stored before
//! `send` answers, and gone from the stream when they are acknowledged. Their ids are their numbers
//! there, `later-` and a number for those that were sent with a delay. A queue that has as many
//! messages or bytes as it may have takes no more, and says so.
//!
//! A program without a lattice may publish to `queue_LATTICE_NAME.one`; its headers arrive as
//! attributes.
//!
//! # Leases
//!
//! A lease belongs to the process that received the message, and other copies of the provider pass
//! calls about it on to that one. It is kept there to the millisecond; should the process die, the
//! message comes again when the time of the queue's consumer has passed, which is the `lease_ms` of the
//! link that made the queue and five seconds. A longer lease ends early then: its receipt has
//! expired.
//!
//! Attempts are counted by the server. One that was given to a process which died, or whose caller
//! had gone, counts too. Servers of 2.9 lose count now and then, and may give a message again that
//! somebody has; what this process knows mends that, and other copies of the provider do not know it.
//!
//! # Delay
//!
//! Messages for later wait in a stream of their own, from which whoever has the queue open moves
//! them. The clocks of the sender's and the mover's host have to agree as far as delays matter.
//! Retries wait at the server. A message that is sent with a delay takes part in the limits of the
//! queue twice: of those that wait, and of those that are ready. One that waits for longer than a
//! `dedup-id` is remembered is no duplicate of what was sent with the same id meanwhile.
//!
//! # Groups
//!
//! Messages of a group are in one of sixteen lanes, each given out one by one; see the module
//! `lanes`. One that waits for its next attempt holds up the other groups of its lane as well, a
//! sixteenth of all, so pauses between attempts are better short there; `lanes` says why. Messages of
//! groups are found within a tenth of a second while groups are in use, and within a second otherwise.
//!
//! # Receiving without waiting
//!
//! What is there is given at once. That nothing is there is told at once too by servers from 2.12.2
//! on; others, and all of them while a message of a group is at work, leave such a request without an
//! answer now and then, so that it has an end there: 50 milliseconds for messages with a group, 150 for
//! those without.
//!
//! # Dead letters
//!
//! A dead letter is longer than its message. So the largest message is 4 KiB smaller than what the
//! server takes. The dead-letter queue has no limits of its own when it is made by a link. What another
//! program has sent may be larger: its dead letter goes without the body, whose size is in
//! `dead-letter-size`, or without its attributes where these are larger.
//!
//! # Depth
//!
//! JetStream counts what was given out and not acknowledged, and does not tell what has become of it.
//! So `depth-of` is approximate:
//!
//! - `ready`: messages that were not given out yet, and whose time has come. What a receive would get
//!   may be more than that.
//! - `leased`: messages that were given out and not acknowledged: those that somebody has, those whose
//!   lease has ended and that wait for the next receive, and those that wait for their next attempt
//!   (`retry`, also with a delay).
//! - `delayed`: messages that were sent with a delay and still wait.
//! - `dead`: messages in the dead-letter queue.
//!
//! A queue is empty when `ready`, `leased` and `delayed` are 0; whoever scales workers by depth adds
//! `ready` and `leased`.
//!
//! # When NATS is away
//!
//! Calls fail at once with `unavailable` while there is no connection, and what was stored is there
//! when it is back. A lease that cannot be kept alive expires.

mod ack;
mod backend;
mod cluster;
mod counts;
mod lanes;
mod later;
mod leases;
mod provider;
mod pull;
mod queue;
pub mod settings;
mod stored_message;
mod wire;

pub use provider::QueueNats;
