//! Serving `lattice:schedule@0.1.0` and telling components of their ticks: a schedule provider is a
//! [`Scheduler`] for each link.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use std::time::Duration;
//! # use lattice_provider_sdk::{Backends, ProviderLink, Session, StartError};
//! # use lattice_provider_sdk::schedule::{self, Handler, Scheduler, Tick};
//! # async fn demo<S: Scheduler>(session: Session, link: ProviderLink, jobs: S) -> Result<(), StartError> {
//! let backends = Arc::new(Backends::new());
//! schedule::serve(&session, Arc::clone(&backends)).await?; // once, in `Provider::start`
//! backends.put(&link, Arc::new(jobs)); // for each link that is put
//!
//! let handler = Handler::new(&session, &link); // tells the component at the other end
//! let tick = Tick { job: "nightly".into(), due_ms: 0, missed: 0, payload: "".into() };
//! let told = handler.tell(&tick, Duration::from_secs(10)).await;
//! # let _ = told; Ok(()) }
//! ```
//!
//! # Features
//!
//! What a link may require (see [`Features`](crate::Features)):
//!
//! | name | value |
//! | --- | --- |
//! | `consistency` | see [`vocabulary`](crate::vocabulary) |
//! | `ttl`, `cas`, `paging` | `none`: jobs stay, are replaced, and are listed as a whole |
//! | `order` | `name`: in which jobs are listed |
//! | `max-jobs` | how many jobs the link allows |
//! | `cron`, `time-zone` | there are cron triggers, and in other time zones than UTC |
//! | `resolution-ms` | the shortest time between two ticks of a job |
//! | `max-payload-bytes` | how long the payload of a job may be that a component puts |
//! | `once` | a tick is told to one instance in the whole lattice, however many copies of the provider there are |

mod handler;
mod serve;
mod wire;

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::error_impl_error,
    clippy::missing_errors_doc,
    clippy::wildcard_imports,
    reason = "generated from the WIT package"
)]
// The provider's side only; tests have the mirror of this world.
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:schedule-provider;
            world provider {
                export lattice:schedule/scheduler@0.1.0;
                import lattice:schedule/handler@0.1.0;
            }
        ",
        path: "../../interfaces/wit/lattice-schedule-0.1.0",
        world: "lattice:schedule-provider/provider",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

pub use handler::{Handler, Tick, Told};
pub use serve::{Job, ScheduleError, Scheduler, Trigger, serve};
