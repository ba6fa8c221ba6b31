//! The values of links and of the provider's config.
//!
//! | provider config | meaning | default |
//! | --- | --- | --- |
//! | `routing_mode` | `address`, `path` or `host`: what tells components apart | `address` |
//! | `default_address` | where to listen in path and host mode, and in address mode for links without an address | `0.0.0.0:8000` |
//! | `header` | the header that names the host in host mode | `host` |
//! | `tls_cert_file`, `tls_priv_key_file` | HTTPS in path and host mode | |
//!
//! | link source config | meaning | default |
//! | --- | --- | --- |
//! | `address` | where to listen (address mode) | the provider's default |
//! | `port` | a port on 127.0.0.1 instead of an address | |
//! | `path` | the path that belongs to the component, exactly (path mode) | required there |
//! | `host` | the host that belongs to the component (host mode) | required there |
//! | `timeout_ms` | how long the component may take, else 408 | 5 s, else 504 |
//! | `readonly_mode` | only GET and HEAD, else 405 | `false` |
//! | `cache_control` | the header of successful GETs that have none | |
//! | `disable_keepalive` | one request per connection | `false` |
//! | `tls_cert_file`, `tls_priv_key_file` | HTTPS (address mode) | |
//! | `cors_allowed_origins` | a JSON list | any origin |
//! | `cors_allowed_headers` | a JSON list | `accept`, `accept-language`, `content-type`, `content-language` |
//! | `cors_allowed_methods` | a JSON list | `GET`, `POST`, `PUT`, `DELETE`, `HEAD`, `OPTIONS` |
//! | `cors_exposed_headers` | a JSON list | none |
//! | `cors_max_age_secs` | how long a preflight answer holds | 300 |
//! | `config_json`, `config_b64` | all of these as one JSON object, the latter in base64; single values go before it | |
//!
//! Keys of links are matched in any case. In the JSON object `tls` and `cors` may be objects.

mod parse;
mod provider;
mod values;

pub use parse::{LinkSettings, Place, Tls};
pub use provider::{Mode, ProviderSettings};
pub use values::InvalidSetting;
