//! The generated bindings in front of the schedulers.

use std::sync::Arc;

use lattice_rpc::Context;

use super::bindings;
use super::bindings::exports::lattice::schedule::scheduler::{self, Handler as _};
use crate::backends::Backends;
use crate::complaint;
use crate::error::ServeError;
use crate::session::Session;
use crate::wire::answered;

const SCHEDULER: &str = "lattice:schedule/scheduler@0.1.0";

pub use super::bindings::lattice::schedule::types::{Error as ScheduleError, Job, Trigger};

/// The jobs behind one link.
///
/// An operation is dropped when its caller gives up and when its deadline passes.
pub trait Scheduler: Send + Sync + 'static {
    /// Puts a job in place of one of the same name; leaves one that is the same as it is.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`]
    fn put_job(&self, job: Job) -> impl Future<Output = Result<(), ScheduleError>> + Send;

    /// Deletes a job.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NoSuchJob`] when there is none of that name.
    fn delete_job(&self, name: &str) -> impl Future<Output = Result<(), ScheduleError>> + Send;

    /// All jobs that have ticks to come, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`]
    fn list_jobs(&self) -> impl Future<Output = Result<Vec<Job>, ScheduleError>> + Send;
}

impl ScheduleError {
    /// The backend cannot be reached, or does not do its work.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable(why.into())
    }

    /// What happened, for a log.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::NoSuchJob => "there is no such job",
            Self::AccessDenied => "access denied",
            Self::InvalidTrigger(text)
            | Self::InvalidJob(text)
            | Self::LimitReached(text)
            | Self::Unavailable(text)
            | Self::Other(text) => text,
        }
    }
}

/// Serves `lattice:schedule/scheduler` until the provider stops.
///
/// # Errors
///
/// [`ServeError`] when NATS refuses.
pub async fn serve<S: Scheduler>(
    session: &Session,
    backends: Arc<Backends<S>>,
) -> Result<(), ServeError> {
    let linked = Linked(backends);
    let server = answered! { session.server(), linked;
        SCHEDULER "put-job" put_job(job: Job);
        SCHEDULER "delete-job" delete_job(name: String);
        SCHEDULER "list-jobs" list_jobs();
    };
    let functions = bindings::serve(&server, linked)
        .await
        .map_err(|e| ServeError::Bindings(e.into()))?;
    server.drive(functions).await
}

/// Answers each call with the scheduler that its link names.
struct Linked<S>(Arc<Backends<S>>);

impl<S> Clone for Linked<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Linked<S> {
    async fn of(&self, cx: &Context) -> Result<Arc<S>, ScheduleError> {
        let jobs = self.0.of(cx).await;
        jobs.map_err(|e| ScheduleError::unavailable(e.to_string()))
    }
}

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, ScheduleError>>;

fn answer<T>(function: &str, cx: &Context, done: Result<T, ScheduleError>) -> Answer<T> {
    if let Err(error) = &done
        && *error != ScheduleError::NoSuchJob
    {
        complaint::warn("a call for a job failed", cx, function, &error.text());
    }
    Ok(done)
}

impl<S: Scheduler> scheduler::Handler<Context> for Linked<S> {
    async fn put_job(&self, cx: Context, job: Job) -> Answer<()> {
        let work = async { self.of(&cx).await?.put_job(job).await };
        answer("put-job", &cx, work.await)
    }

    async fn delete_job(&self, cx: Context, name: String) -> Answer<()> {
        let work = async { self.of(&cx).await?.delete_job(&name).await };
        answer("delete-job", &cx, work.await)
    }

    async fn list_jobs(&self, cx: Context) -> Answer<Vec<Job>> {
        let work = async { self.of(&cx).await?.list_jobs().await };
        answer("list-jobs", &cx, work.await)
    }
}
