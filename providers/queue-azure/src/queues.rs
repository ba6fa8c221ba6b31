//! Queues by name.

use http::Method;
use http::header::HeaderName;
use lattice_azure::{Azure, AzureError, AzureRequest};
use lattice_provider_sdk::queue::{QueueError, dead_name};

use crate::error::queue_error;
use crate::settings::{Create, LinkSettings};

const COUNT: HeaderName = HeaderName::from_static("x-ms-approximate-messages-count");

impl LinkSettings {
    /// Where dead letters of a queue go.
    pub(crate) fn dead(&self, queue: &str) -> String {
        let own = || dead_name(queue);
        self.dead_letter.clone().unwrap_or_else(own)
    }

    pub(crate) fn may_create(&self, queue: &str) -> bool {
        match self.create {
            Create::All => true,
            Create::No => false,
            Create::Own => queue == self.own || queue == self.dead(&self.own),
        }
    }
}

/// Refuses what Azure would.
pub(crate) fn check_name(queue: &str) -> Result<(), QueueError> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [queue.bytes().next(), queue.bytes().last()];
    let is_name = (3..=63).contains(&queue.len())
        && queue.bytes().all(|byte| inner(byte) || byte == b'-')
        && ends.into_iter().flatten().all(inner)
        && !queue.contains("--");
    match is_name {
        true => Ok(()),
        false => Err(QueueError::invalid(format!(
            "`{}` cannot be the name of a queue: Azure wants 3 to 63 lower-case letters, digits and single hyphens",
            queue.escape_debug()
        ))),
    }
}

/// Makes a queue; one that is there is made already.
pub(crate) async fn create(azure: &Azure, queue: &str) -> Result<(), QueueError> {
    let asked = AzureRequest::new("create the queue", Method::PUT, format!("/{queue}"));
    match azure.ask(&asked).await {
        Err(error) if error.code() == Some("QueueAlreadyExists") => Ok(()),
        done => done.map(drop).map_err(|error| queue_error(&error)),
    }
}

fn metadata(queue: &str) -> AzureRequest<'static> {
    AzureRequest {
        query: vec![("comp", "metadata")],
        ..AzureRequest::new("look at the queue", Method::GET, format!("/{queue}"))
    }
}

/// Whether a queue is there, with one attempt.
pub(crate) async fn greet(azure: &Azure, queue: &str) -> Result<(), AzureError> {
    azure.ask_once(&metadata(queue)).await.map(drop)
}

/// About how many messages a queue has.
pub(crate) async fn count(azure: &Azure, queue: &str) -> Result<u64, QueueError> {
    let answer = azure.ask(&metadata(queue)).await;
    let answer = answer.map_err(|error| queue_error(&error))?;
    let count = answer.headers().get(COUNT);
    let count = count.and_then(|count| count.to_str().ok()?.parse().ok());
    Ok(count.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_azure() {
        for good in ["jobs", "jobs-dead", "0-a"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["ab", "Jobs", "a_b", "a.b", "-ab", "a--b", &"a".repeat(64)] {
            assert!(matches!(check_name(bad), Err(QueueError::Invalid(_))));
        }
    }
}
