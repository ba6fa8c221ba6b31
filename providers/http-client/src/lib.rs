//! HTTP for components that call out: pooled connections, TLS, proxies, retries.
//!
//! A link with this provider as target of `wasi:http/outgoing-handler` lets a component send
//! requests, over HTTP/1.1 or HTTP/2. Bodies and trailers stream both ways. Redirects are not
//! followed, cookies not kept, contents not unpacked: a component gets what the server sends.
//! Request trailers go out over HTTP/1.1 when the header `trailer` announces them. A body that a guest
//! streams with `GET` or `HEAD` begins within 150 ms, or within a second where a `content-type` says that there
//! is one, or within the guest's own time limits where these are shorter; else the request goes without. A
//! body that is shorter than its `content-length`, or longer in one piece, is `HTTP-request-body-size`; of one
//! that is longer in several, HTTP/1.1 sends as much as was announced.
//!
//! Values of the link's target config; the provider's own config holds for links without them.
//!
//! | value | meaning | default |
//! | --- | --- | --- |
//! | `allow` | where requests may go, see below; `none` lets nothing through | the link's rule `to`, or what is said below |
//! | `connect_timeout_ms` | the longest a connection may take, with looking up its name | 600000 |
//! | `first_byte_timeout_ms` | the longest the head of a response may take | 600000 |
//! | `between_bytes_timeout_ms` | the longest pause in the body of a response | 600000 |
//! | `retries` | how often a failed request is sent again | 0 |
//! | `retry_on` | what is a failure: `connect`, `reset`, `timeout`, statuses such as `503` | `connect,reset` |
//! | `retry_backoff_ms` | the first pause before sending again; it doubles, up to 10 s | 100 |
//! | `max_concurrent_requests` | requests at once, with those whose response is still read | 1024 |
//! | `max_connections_per_host` | connections to one host and port | 128 |
//! | `max_idle_per_host` | of these, how many are kept unused | 32 |
//! | `max_pooled_connections` | connections to all hosts that are kept for further requests; more are for one request each, and one to a server of HTTP/2 alone, that refuses the handshake otherwise, waits until it can be kept | 1024 |
//! | `idle_timeout_ms` | how long a connection is kept unused | 90000 |
//! | `max_header_bytes` | the longest head of a request or response | 65536 |
//! | `max_request_body_bytes`, `max_response_body_bytes` | the longest bodies; 0 is any | 0 |
//! | `http2` | `auto` by what the server offers over TLS, `off`, or `prior-knowledge` | `auto` |
//! | `load_native_certs` | whether the authorities of the system are believed | `true` |
//! | `load_webpki_certs` | whether those that browsers believe are | `true` |
//! | `ssl_certs_file` | a PEM file with further authorities | |
//! | `client_cert_file`, `client_key_file` | PEM files with the certificate that is shown to servers, and its key | |
//! | `client_cert`, `client_key` | the same as PEM texts; the key is best a secret | |
//! | `http_proxy`, `https_proxy` | the proxy for each kind of address, such as `http://user:password@proxy:3128` | |
//! | `no_proxy` | hosts that are reached without: names with all below them, addresses, networks, `*` | |
//! | `proxy_checks` | whether the proxies keep requests from private addresses themselves | `false` |
//! | `propagate_trace` | whether requests carry the trace context of their call | `true` |
//!
//! All requests of a link to one host and port share one connection of HTTP/2. Of their answers 1 MiB each,
//! and 16 MiB together, may have come that no guest has read: where more than 16 guests pause in large
//! answers, the others of this host wait for them. Requests beyond the number that the server takes at once
//! on a connection wait as well. With `http2=off` each has a connection to itself.
//!
//! The time limits of the guest hold where they are shorter. Only requests of idempotent methods
//! are sent again, and only while nothing of their body was read; a response with `retry-after`
//! sets the pause. Whatever the link says, a safe one (`GET`, `HEAD`, `OPTIONS`, `TRACE`) that meets
//! the end of a connection of the pool goes by another at once. One that a server of HTTP/2 refuses
//! (`REFUSED_STREAM`) is sent again only as the link says. A file that changes is read again within five seconds, for new connections.
//!
//! # Where requests may go
//!
//! `allow` is a list with commas. An item is `*`, `*.example.com` (what is below, not the name
//! itself), `host`, `host:port`, or `scheme://host[:port][/path]`; the host of the latter may
//! be one of the first two. A method and a blank may come before. Without a scheme and port any
//! port will do; with a scheme, its usual one. A path takes in what is below it. An item may also be
//! a network, such as `10.0.0.0/8`. Anything else is answered with `HTTP-request-denied`.
//!
//! A link without `allow` lets through what its rule `to` says (`wash link put --to`). One without
//! either lets everything through, as 1.x does, but for metadata services; in a strict lattice
//! (`--allow-legacy-peers=false`) it lets nothing through.
//!
//! Names are looked at again once their addresses are known, and connections made to these very
//! addresses. What is not let through is `destination-IP-prohibited`:
//!
//! - A name has to lead to a public address, or into a network that the list names: not to a private,
//!   local or otherwise special one, in whatever notation. It makes no difference whether `*`, `*.x` or
//!   the name itself lets it through, since whoever answers for the name chooses the address. A name of
//!   a private network is allowed together with its addresses: `https://db.internal,10.0.0.0/8`, or
//!   `db.internal,10.1.2.3/32` for one of them. Beside other grants a network says this alone: requests to
//!   its addresses themselves need a grant as others do. A list of networks alone lets them through.
//! - `localhost`, and names below it, may lead to this machine (`127.0.0.0/8`, `::1`) where the list
//!   names them, or `*.localhost`.
//! - A grant of an address is for requests to this very address. Those of metadata services
//!   (`169.254.0.0/16`, `100.100.100.200`, `fd00:ec2::/32` and others) are reached in no other way but by
//!   a network of the list that holds them, also through links without grants.
//!
//! A proxy is asked for the address that was found, through a tunnel (`CONNECT`); for a name only
//! where nothing is found here and the link has no grants. With `proxy_checks` it is asked for every
//! name, and trusted to look where that leads.
//!
//! All limits are each link's own, and so are its connections, so that slow requests hold up no other
//! link, and none sends on a connection on which another has logged in. One link looks up no more than
//! eight names at once.

mod address;
mod base;
mod body;
mod client;
mod connect;
mod fault;
mod pace;
mod places;
mod provider;
mod proxy;
mod reach;
mod request;
mod resolve;
mod retry;
mod settings;
mod stream;
mod tls;

pub use provider::HttpClient;
