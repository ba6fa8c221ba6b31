//! The control interface of a lattice: how hosts are told what to do and asked what they know.
//!
//! [`types`] are the requests and answers in their exact JSON, [`api`] is the trait a host
//! implements, [`server`] turns messages into calls of the trait and its results into replies,
//! [`client`] is the other side, and [`publisher`] publishes the events of a host.

pub mod api;
pub mod client;
pub mod publisher;
pub mod server;
pub mod types;

mod settle;
mod trace;

pub use api::{ControlApi, ControlError, Done, NoData, Outcome, Reply};
pub use client::{Client, ClientConfig, ClientError, EventStream, GatherOptions};
pub use publisher::EventPublisher;
pub use server::{Drained, Server, ServerConfig, ServerError, ServerHandle};
