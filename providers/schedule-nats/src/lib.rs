//! Timers for components, with the jobs in a key-value bucket of NATS JetStream.
//!
//! A component with a link to this provider for `lattice:schedule` puts jobs, and is told of their
//! ticks through the same link. A link with the provider as source may say a job by itself, so that
//! a component needs no more than the exported handler. What links say is in [`settings`].
//!
//! # Whose jobs they are
//!
//! Jobs belong to the component and the name of its link; others neither see nor change them. They
//! stay when the provider or NATS starts again, and when the link goes, but there are ticks only
//! while some copy of the provider has the link. The job that a link says goes with the link, a moment
//! after it, if a copy runs then that knows it. When the link changes, the job stays as far as the link
//! still says it: one for a single time that is over is not told again, and one that is due every so
//! often keeps its times while it has the same trigger.
//!
//! A bucket that NATS has lost is made again within seconds. Jobs that links say are put again, and
//! those that components have put are gone with it; `list-jobs` says so.
//!
//! # Once
//!
//! However many copies of the provider run, one of them takes a tick: it moves the job's record on
//! to the next tick, comparing the revision of the record, and the one whose change is accepted
//! tells the component. So a tick that was taken is not taken again, whatever happens then. When the
//! copy dies before the component has answered, nobody knows what became of the tick. By default it
//! is left at that, and the next tick counts it as missed; that is noticed after four seconds of
//! silence, by the clock of the one who notices it, while NATS was there; with `on_lost = again` it is
//! told again, by another copy, for handlers that can bear to hear of a tick twice.
//!
//! A tick is told again, after a pause and a few times, when the component answers with an error, or
//! traps. When no answer comes in time, it is not, except with `on_lost = again`.
//!
//! When nobody is there to be told, or NATS takes no call before its time is over, or the component
//! refuses the call before it begins since it has no room or stops, the component has heard nothing:
//! that is no attempt. The copy gives the tick back, and any copy takes it again after a pause that
//! grows up to 30 seconds, until the next tick of the job is due, which counts it as missed. A job for
//! a single time waits for as long as it takes.
//!
//! # Changes
//!
//! A handler that is being told of a tick is left to it when the job is deleted or put anew. When it
//! fails, it is told of the tick again only while the job is there with the same trigger; of one that
//! has another payload by now with that one, as the next attempt. The first tick for a new trigger comes
//! after the handler has returned.
//!
//! # Late and missed
//!
//! The next tick of a job comes after the handler has returned. When several are due by then, or
//! when no copy was there to tell, the last of them is told, and `missed` counts the others. Times
//! are those of the machine where the provider runs: copies whose clocks differ still tell each tick
//! once, by the clock that is ahead. When a clock is set back, a job that is due every so often is told
//! again after its period and half a minute; one with a cron trigger when the clock has caught up.

mod bucket;
mod claim;
mod firing;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hearing;
mod job_store;
mod key;
mod own;
mod owner_jobs;
mod provider;
mod record;
pub mod settings;
mod ticker;
pub mod trigger;

pub use provider::ScheduleNats;
