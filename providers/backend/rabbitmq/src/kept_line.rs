//! A server, connected to again and again.

use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use lattice_provider_sdk::{Backoff, chain};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::connect::{ConnectError, open};
use crate::settings::RabbitSettings;

/// How often it is looked whether the connection is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The first and the longest pause before it is made again.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const LOST: &str = "lost the connection to RabbitMQ";

/// A connection with what a provider has on it, such as channels that publish.
pub trait Line: Send + Sync + 'static {
    /// Whether it can be used. One that cannot is made again as a whole.
    fn is_up(&self) -> bool;
}

/// The line that is there now, or why there is none.
type Now<L> = Result<Arc<L>, String>;

/// The line to a server, made again whenever it is lost.
#[derive(Debug)]
pub struct KeptLine<L> {
    now: watch::Receiver<Now<L>>,
    _keeper: AbortOnDropHandle<()>,
}

impl<L: Line> KeptLine<L> {
    /// Connects as `name`. `prepare` makes a line of each new connection.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the first attempt fails; those after it are made until one succeeds.
    pub async fn open<P, F>(
        server: &RabbitSettings,
        name: &str,
        prepare: P,
    ) -> Result<Self, ConnectError>
    where
        P: Fn(Connection) -> F + Send + Sync + 'static,
        F: Future<Output = lapin::Result<L>> + Send + 'static,
    {
        let line = Arc::new(open(server, name, &prepare).await?);
        let (sender, now) = watch::channel(Ok(Arc::clone(&line)));
        let keeper = keep(server.clone(), name.to_owned(), prepare, line, sender);
        Ok(Self {
            now,
            _keeper: AbortOnDropHandle::new(tokio::spawn(keeper)),
        })
    }

    /// The line that is there now.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn now(&self) -> Result<Arc<L>, String> {
        match &*self.now.borrow() {
            Ok(line) if line.is_up() => Ok(Arc::clone(line)),
            Ok(_) => Err(LOST.into()),
            Err(why) => Err(why.clone()),
        }
    }

    /// Waits for a line.
    pub async fn wait(&self) -> Arc<L> {
        let mut now = self.now.clone();
        let is_up = |now: &Now<L>| now.as_ref().is_ok_and(|line| line.is_up());
        let line = match now.wait_for(is_up).await {
            Ok(now) => now.as_ref().ok().map(Arc::clone),
            Err(_) => None,
        };
        match line {
            Some(line) => line,
            // The keeper lives as long as this.
            None => std::future::pending().await,
        }
    }
}

/// Connects again when the line is lost; never ends.
async fn keep<L, P, F>(
    server: RabbitSettings,
    name: String,
    prepare: P,
    first: Arc<L>,
    now: watch::Sender<Now<L>>,
) where
    L: Line,
    P: Fn(Connection) -> F,
    F: Future<Output = lapin::Result<L>>,
{
    let mut line = first;
    loop {
        while line.is_up() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tracing::warn!("lost the connection to RabbitMQ, connecting again");
        drop(now.send_replace(Err(LOST.into())));
        // One of which a part alone was closed is closed as a whole.
        drop(line);
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        line = loop {
            match open(&server, &name, &prepare).await {
                Ok(line) => break Arc::new(line),
                Err(error) => {
                    drop(now.send_replace(Err(chain(&error))));
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        };
        drop(now.send_replace(Ok(Arc::clone(&line))));
    }
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::Settings;
    use lattice_services::{Kind, Service};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    struct Bare(Connection);

    impl Line for Bare {
        fn is_up(&self) -> bool {
            self.0.status().connected()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_line_that_is_lost_is_made_again() {
        let service = Service::start(Kind::RabbitMq).await.unwrap();
        let url = service.url();
        let settings = Settings::from_texts([("url", url.as_str())], []);
        let server = RabbitSettings::read(&settings).unwrap();
        let prepare = |connection| std::future::ready(Ok(Bare(connection)));
        let kept = KeptLine::open(&server, "test", prepare).await.unwrap();
        let first = kept.now().unwrap();
        first.0.close(200, "".into()).await.unwrap();
        let next = tokio::time::timeout(PATIENCE, kept.wait());
        let next = next.await.unwrap();
        assert!(!Arc::ptr_eq(&first, &next));
        assert!(next.is_up());
    }
}
