//! Queues for components, kept in RabbitMQ 3.10 or later.
//!
//! A link with this provider as target of `lattice:queue` lets its component send and receive; one
//! with it as source has the component's handler called. See [`settings`] for what links say.
//!
//! # Queues
//!
//! A queue is the queue of that name in the virtual host, so that programs without a lattice share
//! it. It is made when a link of the queue is put, as a durable quorum queue unless the link says
//! `classic`; other queues that a component names have to be there unless the link says `create`.
//! Messages are confirmed by the server before `send` answers. A queue that has as many messages or
//! bytes as it may have takes no more, and says so; the server notices a little late, so that a few
//! more may be taken, and those are kept.
//!
//! # Leases
//!
//! A message that is leased is one that the provider has received and not acknowledged. It goes back
//! when its lease ends, and when the process or its connection dies. Receipts are those of the process
//! that received; other copies of the provider pass calls about them on to that one. A server lets
//! nobody have a message for longer than half an hour by default, so leases end after 25 minutes in
//! all (1500000 milliseconds, `max-lease-ms`): a longer one is refused, in a receive, in the
//! `lease_ms` of a link and in what extends it.
//!
//! Messages that are leased stay in memory. One receive takes 16 MiB and one message of any size at the most,
//! and one second; what there is by then is what comes. While the workers of a link have 256 MiB, its receives
//! wait until some of it is settled or goes back.
//!
//! Attempts are counted by quorum queues, and carried along when a message waits for its next one. A
//! message that arrives just when a receive has waited long enough is given back by the server, which
//! counts too, as it does when the connection is lost.
//!
//! A message whose handler nobody could be called for is sent again, with the attempts that it had, and
//! then acknowledged: after half of those 25 minutes, and when the link ends. So is one that has come
//! back to a quorum queue 15 times, as RabbitMQ 4 by itself drops what comes back more than 20 times. What
//! is sent again comes behind the others, and after a while if its queue is full.
//!
//! Of a classic queue it is only known that a message came before, so an attempt after one whose lease
//! has ended is told as the second one at most.
//!
//! # Delay
//!
//! Messages for later, and retries with a delay, wait in queues called `QUEUE=wait=MILLISECONDS`, of
//! which there are at most 70 for a queue, and as a rule a few. A message that has to wait behind one
//! that came before with a longer delay may come later, by a third of its delay at most. The first use of
//! each over a connection takes one and a half seconds, as a server that is killed just after it has made
//! a quorum queue loses what is in it; a shorter delay is as long then. They are quorum
//! queues also where the link says `classic`, since a message that comes due while its queue is full has
//! to wait on: the server tries it again every three minutes. They stay, as a server that deleted them
//! would delete what is in them; those of a queue that is gone can be deleted when `rabbitmqctl
//! list_queues name messages` shows nothing in them.
//!
//! # A server that is short of memory or disk
//!
//! RabbitMQ reads nothing then from connections that publish. So each server has two connections: one
//! publishes, and the other receives, settles and looks queues up, so that queues go on being emptied. What is
//! sent meanwhile is refused as unavailable at once, and so is what has a message sent again: a rejection, a
//! retry with a delay, and any retry in a classic queue. A message that has come back 15 times, which has to be
//! sent again, is kept meanwhile when its lease ends. It may come twice then, as the server may take what was sent
//! as the alarm began, and confirms it too late. The link of a component that sends is failed.
//!
//! # Channels
//!
//! A queue has a channel of its own while messages of it are received, and while they are leased. One
//! connection has at most 1024 of them, or half of what the server lets a connection have; those that nobody
//! uses are closed when others need one. While messages of so many queues are leased, receives from others are
//! refused as unavailable. Sending needs none.
//!
//! # Dead letters
//!
//! A message that is rejected is confirmed in the dead-letter queue before it is acknowledged in its
//! own. A provider that dies in between leaves it in both.
//!
//! The headers of a message have to fit into one frame, 128 KiB by default, with 4 KiB to spare for what
//! comes to them later; attributes that do not are refused as invalid. A message of another program with
//! larger ones becomes a dead letter without them, also where it was to come again or its lease ends; in a
//! dead-letter queue that a link names it stays there without them.
//!
//! # What is not there
//!
//! `dedup` and `groups` are refused as unsupported: RabbitMQ keeps no ids, and has no order among
//! some of a queue's messages only. `depth-of` knows of messages that are ready, in the queue and in
//! its dead-letter queue.

mod backend;
mod dead_letter_queue;
mod hold;
mod intake_line;
mod leases;
mod provider;
mod publish_line;
mod queue;
mod rabbit;
mod receive;
mod room;
pub mod settings;
mod store;
mod stored_message;
#[cfg(test)]
mod tests;

pub use provider::QueueRabbitmq;
