//! The road between processes of one machine: one Unix socket for all calls of two processes.
//!
//! Each end has a [`Switchboard`], and the socket joins the two. What peers say to one another is
//! the same as over NATS, message by message; a socket carries it without a server in between.
//!
//! A call stays on the road that its request took, since nothing orders the messages of two roads.
//! So what has come over a socket names the line it came by in its reply subject, and what is sent
//! there goes back by it. When a line ends, its calls fail at once.
//!
//! An end asks for each function that it calls whether the other end serves it (`Want`, answered by
//! `Have` or `Gone`, now and whenever it changes). A request that finds no room over there comes
//! back (`Declined`) and goes over NATS, unless its link forbids that.

mod carry;
mod frame;
mod line;
mod listen;
mod weight;

pub(crate) use frame::Frame;
pub(crate) use line::{Line, Tried, is_line};
pub use listen::{ListenError, SocketListener, keep_connected};
