//! A provider of several capabilities, whose backends always say the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::lock::{self, Claim, Granted, Holder, LockError, LockLinks, LockName};
use lattice_provider_sdk::messaging;
use lattice_provider_sdk::queue::{
    self, Delivery, Depth, Linked, Message, Outcome, QueueError, ReceiptKey, ReceiveOptions, Sent,
};
use lattice_provider_sdk::schedule::{self, Job, ScheduleError, Trigger};
use lattice_provider_sdk::sql::{
    self, Batch, Column, Control, Databases, Dialect, Done, Purpose, Row, Sql, SqlError, Statement,
    Value,
};
use lattice_provider_sdk::{
    Backends, Features, LinkError, Provider, ProviderLink, Session, Settings, StartError,
    async_trait,
};
use tokio::time::Instant;

use super::nowhere::Nowhere;

/// Serves all of them.
pub(crate) struct All {
    sql: Sql<Echo>,
    locks: LockLinks<Held>,
    queues: Arc<Backends<Linked<Three>>>,
    jobs: Arc<Backends<Nightly>>,
}

#[async_trait]
impl Provider for All {
    const NAME: &'static str = "all";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let all = Self {
            sql: Sql::serve(&session).await?,
            locks: LockLinks::serve(&session).await?,
            queues: Arc::default(),
            jobs: Arc::default(),
        };
        queue::serve(&session, Arc::clone(&all.queues)).await?;
        keyvalue::serve(&session, Arc::new(Backends::<Nowhere>::new())).await?;
        messaging::serve(&session, Arc::new(Backends::<Nowhere>::new())).await?;
        schedule::serve(&session, Arc::clone(&all.jobs)).await?;
        Ok(Arc::new(all))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = Settings::from_texts([], []);
        match link.package.as_str() {
            "sql" => {
                let databases = Databases::read(&settings, link.name.as_str()).unwrap();
                self.sql
                    .put(link, Arc::new(Echo), databases, sql::Limits::default());
            }
            "lock" => {
                let limits = lock::Limits::read(&settings, Duration::from_millis(100)).unwrap();
                self.locks.put(link, Held, limits);
            }
            "queue" => {
                let linked = Linked::new(link, &settings, Three)?;
                self.queues.put(link, Arc::new(linked));
            }
            _ => self.jobs.put(link, Arc::new(Nightly)),
        }
        Ok(())
    }
}

/// Answers a query with the values that it was given.
#[derive(Debug)]
struct Echo;

impl sql::Backend for Echo {
    type Session = Given;

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn connect(
        &self,
        _: Option<&str>,
        _: Purpose<'_>,
        _: Instant,
    ) -> Result<Given, SqlError> {
        Ok(Given(Vec::new()))
    }
}

#[derive(Debug)]
struct Given(Row);

impl sql::Session for Given {
    async fn query(
        &mut self,
        _: &Statement,
        values: Vec<Value>,
        _: Instant,
    ) -> Result<Vec<Column>, SqlError> {
        self.0 = values;
        Ok(vec![Column {
            name: "n".to_owned(),
            type_name: "int".to_owned(),
        }])
    }

    async fn next(&mut self, _: usize, _: usize, _: Instant) -> Result<Batch, SqlError> {
        Ok(Batch {
            rows: vec![std::mem::take(&mut self.0)],
            is_last: true,
        })
    }

    async fn stop(&mut self, _: Instant) -> Result<(), SqlError> {
        Ok(())
    }

    async fn execute(
        &mut self,
        _: &Statement,
        _: Vec<Value>,
        _: Instant,
    ) -> Result<Done, SqlError> {
        Err(SqlError::other("no test asks for it"))
    }

    async fn control(&mut self, _: Control, _: Instant) -> Result<(), SqlError> {
        Ok(())
    }
}

/// Where every lock is held.
struct Held;

impl lock::Locks for Held {
    async fn acquire(&self, _: &Claim, _: Duration, _: Instant) -> Result<Granted, LockError> {
        Err(LockError::Held(None))
    }

    async fn renew(&self, _: &Claim, _: Duration) -> Result<Granted, LockError> {
        Err(LockError::NotHeld)
    }

    async fn release(&self, _: &Claim) -> Result<(), LockError> {
        Err(LockError::NotHeld)
    }

    async fn inspect(&self, _: &LockName) -> Result<Option<Holder>, LockError> {
        Ok(Some(Holder {
            owner: "app".to_owned(),
            fence: 7,
            expires_in_ms: None,
        }))
    }

    fn features(&self) -> Features {
        Features::new()
    }

    async fn check(&self) -> Result<(), LinkError> {
        Ok(())
    }
}

/// A queue of three, which calls a message by its body.
struct Three;

impl queue::Queues for Three {
    fn is_dead_letter_queue(&self, _: &str) -> bool {
        false
    }

    async fn receipt_key(&self, _: &str) -> Result<ReceiptKey, QueueError> {
        Ok(ReceiptKey::of("secret"))
    }

    async fn send(&self, _: &str, message: Message, _: Duration) -> Sent {
        Ok(String::from_utf8_lossy(&message.body).into_owned())
    }

    async fn receive(&self, _: &str, _: ReceiveOptions) -> Result<Vec<Delivery>, QueueError> {
        Ok(Vec::new())
    }

    async fn settle(&self, _: &str, _: &str, _: Outcome) -> Result<(), QueueError> {
        Err(QueueError::ReceiptExpired)
    }

    async fn extend(&self, _: &str, _: &str, _: Duration) -> Result<(), QueueError> {
        Err(QueueError::ReceiptExpired)
    }

    async fn depth(&self, _: &str) -> Result<Depth, QueueError> {
        Ok(Depth {
            ready: 3,
            leased: Some(1),
            delayed: None,
            dead: None,
        })
    }
}

/// There is one job.
struct Nightly;

impl schedule::Scheduler for Nightly {
    async fn put_job(&self, _: Job) -> Result<(), ScheduleError> {
        Err(ScheduleError::AccessDenied)
    }

    async fn delete_job(&self, _: &str) -> Result<(), ScheduleError> {
        Err(ScheduleError::NoSuchJob)
    }

    async fn list_jobs(&self) -> Result<Vec<Job>, ScheduleError> {
        Ok(vec![Job {
            name: "nightly".to_owned(),
            trigger: Trigger::EveryMs(5),
            time_zone: None,
            payload: Bytes::from_static(&[1, 2]),
        }])
    }
}
