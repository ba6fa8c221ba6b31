//! Telling the server that nobody waits for a connection any more.

use std::time::Duration;

use lattice_provider_sdk::Backoff;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Opts};

use crate::errors::is_full;

/// How long the server may take to hear it.
const LIMIT: Duration = Duration::from_secs(3);
/// How often it is told while it has no connection to spare, and after which pauses.
const TRIES: usize = 4;
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// What it says of a connection that has ended already.
const NO_SUCH_THREAD: u16 = 1094;

/// Has the server end a connection, whatever it does. It is told again only where it said that it
/// has no connection to spare: where it does not answer, another may soon be in its place, or the
/// same started anew, and there the number is another's.
pub(crate) async fn end_at_server(options: Opts, id: u32) {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    let mut why = String::new();
    for tried in 0..TRIES {
        if tried > 0 {
            tokio::time::sleep(backoff.delay()).await;
        }
        match tokio::time::timeout(LIMIT, tell(&options, id)).await {
            Ok(Ok(())) => return,
            Ok(Err(Error::Server(said))) if said.code == NO_SUCH_THREAD => return,
            Ok(Err(error)) => {
                why = error.to_string();
                if !is_full(&error) {
                    break;
                }
            }
            Err(_) => {
                why = format!("no answer within {LIMIT:?}");
                break;
            }
        }
    }
    tracing::warn!(
        why,
        "could not end a statement at the server, where it goes on"
    );
}

async fn tell(options: &Opts, id: u32) -> mysql_async::Result<()> {
    let mut other = Conn::new(options.clone()).await?;
    other.query_drop(format!("KILL {id}")).await?;
    // That it was told is what matters.
    let _closed = other.disconnect().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_server_that_is_gone_is_told_only_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hang_up = async {
            let mut times = 0;
            loop {
                let (_hung_up, _) = listener.accept().await.unwrap();
                times += 1;
                if times > 1 {
                    return times;
                }
            }
        };
        let options = Opts::from_url(&format!("mysql://me@127.0.0.1:{port}/shop")).unwrap();
        let told = end_at_server(options, 7);
        tokio::select! {
            () = told => {}
            times = hang_up => panic!("told {times} times"),
        }
    }
}
