//! Whether the NATS server that was started has joined the cluster of `--nats-remote-url`.
//!
//! It starts without, and tries again for as long as it runs, so that only its log tells.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::files::last_lines;

/// How long joining may take until it is told that it has not happened.
const JOINING: Duration = Duration::from_secs(4);
/// A login is refused only after the connection is there.
const SETTLING: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(100);
const LINES: usize = 200;

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Connected,
    Failed(String),
}

/// Why the server has not joined; nothing if it has.
pub(super) async fn problem(log: &Path) -> Option<String> {
    let deadline = Instant::now() + JOINING;
    let mut connected: Option<Instant> = None;
    while Instant::now() < deadline {
        match seen(&last_lines(log, LINES)) {
            Seen::Failed(line) => return Some(line),
            Seen::Connected => {
                let since = *connected.get_or_insert_with(Instant::now);
                if since.elapsed() >= SETTLING {
                    return None;
                }
            }
            Seen::Nothing => {}
        }
        tokio::time::sleep(POLL).await;
    }
    match connected {
        Some(_) => None,
        None => Some(format!("no connection came about within {JOINING:?}")),
    }
}

/// What the latest line about leaves says.
fn seen(lines: &[String]) -> Seen {
    let about = |line: &&String| {
        let lower = line.to_lowercase();
        lower.contains("leafnode connection created") || is_failure(&lower)
    };
    match lines.iter().rev().find(about) {
        None => Seen::Nothing,
        Some(line) if is_failure(&line.to_lowercase()) => {
            let (_, told) = line.split_once("[ERR]").unwrap_or(("", line));
            Seen::Failed(told.trim().to_owned())
        }
        Some(_) => Seen::Connected,
    }
}

fn is_failure(lower: &str) -> bool {
    lower.contains("[err]") && lower.contains("leafnode")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_the_server_tells_how_joining_went() {
        let created = "[1] [INF] 127.0.0.1:7422 - lid:5 - Leafnode connection created".to_owned();
        let refused = "[1] [ERR] Error trying to connect as leafnode to remote server \
                       \"hub:7422\" (attempt 1): dial tcp: connection refused"
            .to_owned();
        let ready = "[1] [INF] Server is ready".to_owned();
        assert_eq!(seen(std::slice::from_ref(&ready)), Seen::Nothing);
        assert_eq!(seen(&[created.clone(), ready.clone()]), Seen::Connected);
        let Seen::Failed(told) = seen(&[created.clone(), ready, refused.clone()]) else {
            panic!("a failure was not seen");
        };
        assert!(told.starts_with("Error trying") && told.ends_with("refused"));
        assert_eq!(seen(&[refused, created]), Seen::Connected);
    }
}
