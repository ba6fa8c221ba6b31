//! HTTP for components: listens, and passes each request on to the component that a link names.
//!
//! A link with this provider as source of `wasi:http/incoming-handler` is a route: its
//! address, path or host, and what is done to requests and responses on the way. The values of
//! links and of the provider's config are listed in [`settings`].
//!
//! Nothing that depends only on the link is done per request: the call's subject and headers, the
//! header values of CORS and caching are made when the link is put. A request is one task's work
//! from socket to NATS and back; a client that goes away drops it, which cancels the call.

mod body;
mod complaints;
mod connection;
mod cors;
mod failure;
mod farewell;
mod host;
mod listener;
mod order;
mod place;
mod provider;
mod request;
mod room;
mod route;
mod server;
pub mod settings;
mod spare;
mod tls;
mod traced;
mod upload;
mod watch;
mod websocket;

pub use provider::HttpServer;
