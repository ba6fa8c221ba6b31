//! The values of links and of the provider's config.
//!
//! | provider config | meaning | default |
//! | --- | --- | --- |
//! | `routing_mode` | `address`, `path` or `host`: what tells components apart | `address` |
//! | `default_address` | where to listen in path and host mode, and in address mode for links without an address | `0.0.0.0:8000` |
//! | `address`, `port` | in path and host mode the same, and before it | |
//! | `header` | the header that names the host in host mode | `host` |
//! | `tls_cert_file`, `tls_priv_key_file` | HTTPS in path and host mode | |
//! | `max_header_bytes` | how large the head of a request may be, else 431 | 65536 |
//! | `header_timeout_ms` | how long a head may take from its first byte on, else 408 | 30000 |
//! | `idle_timeout_ms` | how long a connection may be idle, and its client take nothing of an answer (that no shorter than a minute) | 60000 |
//! | `max_concurrent_streams` | how many requests an HTTP/2 connection may have open | 256 |
//! | `config_json`, `config_b64` | in path and host mode, as of links | |
//! | the values of links from `methods` on, but for TLS | in path and host mode, what holds for links that do not say otherwise | |
//!
//! | link source config | meaning | default |
//! | --- | --- | --- |
//! | `address` | where to listen (address mode) | the provider's default |
//! | `port` | a port on 127.0.0.1 instead of an address | |
//! | `path` | the path that belongs to the component, exactly, or a template | any; required in path mode |
//! | `host` | the host that belongs to the component | any; required in host mode |
//! | `methods` | the methods that are let through, as a list, else 405 | any |
//! | `timeout_ms` | how long the component may take, the body of the request included, else 408 | the host's `--call-timeout-ms`, 5 s, else 504; see below |
//! | `readonly_mode` | only GET and HEAD, else 405 | `false` |
//! | `cache_control` | the header of successful GETs that have none | |
//! | `disable_keepalive` | one request per connection; over HTTP/2 those that come with the first | `false` |
//! | `tls_cert_file`, `tls_priv_key_file` | HTTPS (address mode) | |
//! | `max_body_bytes` | how large the body of a request may be, else 413; 0 is any | 0 |
//! | `body_timeout_ms` | how long the client may pause within a body, else 408 | 60000 |
//! | `websocket` | whether the component may take connections over, see below | `false` |
//! | the four limits of connections above | in address mode | the provider's |
//! | `cors_allowed_origins` | a JSON list | any origin |
//! | `cors_allowed_headers` | a JSON list, of which an empty one is any, as in the next two | `accept`, `accept-language`, `content-type`, `content-language` |
//! | `cors_allowed_methods` | a JSON list | `GET`, `POST`, `PUT`, `DELETE`, `HEAD`, `OPTIONS` |
//! | `cors_exposed_headers` | a JSON list | any |
//! | `cors_max_age_secs` | how long a preflight answer holds | 300 |
//! | `config_json`, `config_b64` | all of these as one JSON object, the latter in base64 and before the former; see below | |
//!
//! Keys of links are matched in any case. In the JSON object `tls` and `cors` may be objects; what
//! an object `cors` leaves out of the lists is any. Beside a JSON object `path`, `host` and what 1.x
//! does not know may stand alone and go before it, and `address` and `port` where it has neither; of
//! the rest the object alone counts.
//!
//! A template has parameters in place of whole segments: `/users/{id}`, and as the last one
//! `/files/{rest...}` for all that follows, which `/files/{*rest}` of 1.x means too. Names are made of
//! letters, digits, `-` and `_`. The component gets them as headers, `x-path-id` and
//! `x-path-rest`, as they stand in the path. Headers whose names begin with `x-path-` that a client sends
//! are removed from every request to a link with a `path`, with parameters or without, so that a component
//! can trust those that it gets: in path mode, where each link has one, from all of them. A link
//! without a path gets such headers as they were sent; a component that trusts them must have none.
//! A path that fits exactly goes before templates, templates with more certain segments before
//! others, links with a host before those without, and links with a path before those without.
//!
//! A request has to name one host: one of HTTP/1.1 without the header `host`, and any with more than
//! one or with one that is none, is refused with 400 (RFC 9112, section 3.2). Where the address of the
//! request has a host, as in HTTP/2, that goes before the header. Where another header names the host, it
//! may be there once only. The scheme that a component sees is that of the connection.
//!
//! Links that share an address in address mode share how connections to it begin: the TLS files of the
//! one that came first hold, and a link with other ones is not ready beside it. What belongs to a link
//! for HTTPS is never served without, but refused with 421. A server keeps as many connections as half of
//! the files that its process may have open, 16384 at most.
//!
//! TLS files that change are read again within five seconds, for new connections. While they cannot
//! be used the old certificate stays, and the link's state says why.
//!
//! # Several links for one place
//!
//! Where several links want the same address, or the same path or host at one, the one that was put in the
//! lattice first has it, as in 1.x: on all hosts, and after every start. The others have failed with the
//! reason whose place it is, and take over in their order when those before them go. A link that changes
//! keeps its turn, one that is deleted and put again is the last. While the provider runs nobody takes a
//! place from a link that has had it for more than ten seconds, also not one that was put before it and
//! could be served only later, or wants another place now: that is sorted at the next start.
//!
//! # Links that change
//!
//! A link whose values change is served all the while, and its address stays open. Values that cannot be used, an
//! address that cannot be listened on and a place that is another's are refused: the link has failed with
//! the reason, and is served as before until they are mended. So it is when the provider's own config cannot
//! be used. Connections that are there go on, unless TLS, `disable_keepalive` or a limit of
//! connections has changed: then they end after the request at hand. So it is where another link takes an
//! address over, and differs in one of these. Where the header that names hosts changes, or one address
//! covers the other (`0.0.0.0:80` and `127.0.0.1:80`), the old link goes before the new one comes.
//!
//! # Bodies that take their time
//!
//! Without `timeout_ms`, a component has the host's time for calls, five seconds unless
//! `--call-timeout-ms` says otherwise, for the head of its answer from when the body of its request
//! is all on its way to it, else 504. As long as the body comes, the client may
//! pause for `body_timeout_ms` whenever it is waited for, else 408; a component that takes nothing of
//! what has come for the host's time for calls is given up with 504. The calls that the component makes
//! meanwhile have that time each, but for those that pass the body on. With `timeout_ms`, the head of the answer is due then,
//! whether the body is all there or not. In any case the host ends the call after the longest time
//! that it lets components run. None of this is about the body of the answer, see below.
//!
//! Over HTTP/2 the requests of one connection share what their client may send ahead: 256 KiB for each,
//! 4 MiB for all. Where components leave that many unread, those that come after them on this connection
//! wait, and that counts as a pause of their client.
//!
//! Where the client does not send the body to its end, or sends it wrongly, it is told 400
//! (`request-body`) unless the answer of the component has begun by then, whatever the component
//! makes of what it got; the log has that at the level `debug`.
//!
//! # WebSockets and server-sent events
//!
//! What a component writes into its body is sent at once, so that `text/event-stream` needs nothing
//! else. A body that says nothing is left alone for as long as the component and its client are
//! there, and the longest time is not over that the host lets components run. Only the body of a
//! 1.9 host must not say nothing for a minute; a comment line now and then avoids that.
//!
//! A request for a WebSocket is passed on like any other, without its body. A component that
//! answers with status 101 although the link does not say `websocket` makes it fail with status
//! 502 (`no-upgrade`), since `wasi:http` knows no connection to take over. With `websocket` it does so
//! by its bodies: after status 101 with the header `sec-websocket-accept`, it reads what the client
//! sends from the body of its request, and what it writes into the body of its response goes to
//! the client, as frames of RFC 6455. The body of the request does not end before the answer, so
//! a component must not wait for that. The time limit of the link is that of the answer; what
//! follows has the longest time that the host lets components run.
//!
//! # Features
//!
//! What a link has is told in these words, which it may `require`:
//!
//! | feature | value | means |
//! | --- | --- | --- |
//! | `http1`, `http2`, `streams`, `trailers`, `sse` | `yes` | always there |
//! | `tls`, `websocket` | `yes`, `none` | as the link says |
//! | `keep-alive` | `yes`, `none` | not with `disable_keepalive` |
//! | `max-header-bytes`, `max-concurrent-streams` | a number | the limits of connections of these names |
//! | `max-body-bytes` | a number | `max_body_bytes`; 18446744073709551615 where any size is taken |
//! | `timeout-ms` | a number, `none` | `timeout_ms`; none where the host's time holds |

mod limits;
mod parse;
mod provider;
mod values;

pub use crate::place::Template;
pub use limits::{BodyLimits, ConnectionLimits};
pub use parse::{Common, LinkSettings, PathPlace, Place, Tls};
pub use provider::{Mode, ProviderSettings};
pub use values::InvalidSetting;
