//! A lattice one is connected to, and what its refusals mean for the user.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use lattice_control::{Client, ClientConfig, ClientError, GatherOptions};
use lattice_core::host::{Host, HostInventory};
use lattice_core::subject::TopicPrefix;
use lattice_core::{ErrorCode, HostId};

use super::{ConnectionArgs, Settings, connect};
use crate::error::{CliError, Code, Result};
use crate::output::Ui;

/// How many hosts are asked at once.
pub(super) const ASKED_AT_ONCE: usize = 32;

/// How thoroughly to look for hosts, which answer when they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// Enough to find something by its whole name, where a miss is followed by [`Search::Full`], and
    /// for what a command can do without. It ends soon after an answer, however long the timeout is.
    Quick,
    /// For lists that a person reads, who looks again: also hosts behind slow links.
    List,
    /// To the end of the timeout: for what has to know of every host.
    Full,
}

impl Search {
    /// For a list that is written to `ui`: whatever reads it takes it for complete, unless it is a
    /// person at a terminal.
    pub(crate) fn list(ui: &Ui) -> Self {
        if ui.is_json() || !ui.stdout_terminal() {
            Self::Full
        } else {
            Self::List
        }
    }

    /// After this time without another answer, nobody else is expected.
    fn quiet(self) -> Option<Duration> {
        match self {
            Self::Quick => Some(Duration::from_millis(250)),
            Self::List => Some(Duration::from_millis(750)),
            Self::Full => None,
        }
    }
}

/// A connection to one lattice.
#[derive(Debug, Clone)]
pub(crate) struct Lattice {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
}

impl Lattice {
    pub(crate) async fn connect(args: &ConnectionArgs) -> Result<Self> {
        Self::new(args.given().settle()?).await
    }

    pub(crate) async fn new(settings: Settings) -> Result<Self> {
        let topic_prefix = topic_prefix(&settings)?;
        let nats = connect(&settings).await?;
        let config = ClientConfig {
            topic_prefix,
            timeout: settings.timeout,
            auction_timeout: settings.timeout,
            ..ClientConfig::new(settings.lattice.clone())
        };
        Ok(Self {
            client: Client::new(nats, config),
            settings,
        })
    }

    /// The same lattice with more patience, for requests that are answered after the work.
    pub(crate) fn patient(&self, timeout: Duration) -> Result<Client> {
        let config = ClientConfig {
            topic_prefix: topic_prefix(&self.settings)?,
            timeout: self.settings.timeout.max(timeout),
            ..ClientConfig::new(self.settings.lattice.clone())
        };
        Ok(Client::new(self.client.nats().clone(), config))
    }

    /// How to collect answers. For lists, a timeout given for the command is waited for in full.
    pub(crate) fn gather(&self, search: Search) -> GatherOptions {
        let in_full = self.settings.timeout_flag && search == Search::List;
        GatherOptions {
            quiet: search.quiet().filter(|_| !in_full),
            ..GatherOptions::default()
        }
    }

    /// The hosts of the lattice, longest-lived first.
    pub(crate) async fn hosts(&self, search: Search) -> Result<Vec<Host>> {
        let hosts = self.client.ping(self.gather(search)).await;
        let mut hosts = hosts.map_err(|error| explain("could not ask for hosts", &error))?;
        hosts.sort_by(|a, b| {
            b.uptime_seconds
                .cmp(&a.uptime_seconds)
                .then(a.id.cmp(&b.id))
        });
        hosts.dedup_by(|a, b| a.id == b.id);
        Ok(hosts)
    }

    /// What these hosts run. Hosts that went away meanwhile are left out.
    pub(crate) async fn inventories(&self, hosts: &[Host]) -> Result<Vec<HostInventory>> {
        let ids: Vec<HostId> = hosts
            .iter()
            .filter_map(|host| HostId::new(&host.id).ok())
            .collect();
        let answers: Vec<_> = stream::iter(ids)
            .map(|id| async move { self.client.inventory(&id).await })
            .buffered(ASKED_AT_ONCE)
            .collect()
            .await;
        let mut inventories = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(inventory) => inventories.push(inventory),
                Err(ClientError::NoResponders { .. }) => {}
                Err(error) => return Err(explain("could not read an inventory", &error)),
            }
        }
        Ok(inventories)
    }

    /// Whether a host answers within this time.
    pub(crate) async fn host_answers(&self, id: &HostId, within: Duration) -> bool {
        let answer = tokio::time::timeout(within, self.client.inventory(id)).await;
        matches!(answer, Ok(Ok(_)))
    }

    /// The error for a lattice in which nobody is there.
    pub(crate) fn no_hosts(&self) -> CliError {
        no_hosts(self.settings.lattice.as_str())
    }

    /// Turns a failed request into an error that says what was wanted.
    pub(crate) fn explain(&self, what: impl Into<String>, error: &ClientError) -> CliError {
        match error {
            ClientError::NoResponders { subject, .. } if !names_host(subject) => {
                self.no_hosts().cause(format!("no responders on {subject}"))
            }
            error => explain(what, error),
        }
    }
}

fn topic_prefix(settings: &Settings) -> Result<TopicPrefix> {
    match &settings.topic_prefix {
        None => Ok(TopicPrefix::default()),
        Some(prefix) => prefix.parse().map_err(|error| {
            CliError::new(
                Code::Usage,
                "WASMCLOUD_CTL_TOPIC_PREFIX is not a subject prefix",
            )
            .caused_by(&error)
        }),
    }
}

fn no_hosts(lattice: &str) -> CliError {
    CliError::new(
        Code::NoResponders,
        format!("no host answered on lattice '{lattice}'"),
    )
    .hint("start one with `wash up -d`, or pick a context with `wash ctx use`")
}

/// Requests to one host end with its id.
fn names_host(subject: &str) -> bool {
    subject
        .rsplit('.')
        .next()
        .is_some_and(|token| HostId::new(token).is_ok())
}

fn explain(what: impl Into<String>, error: &ClientError) -> CliError {
    let failed = |code: Code| CliError::new(code, what);
    let failure = match error {
        ClientError::InvalidName(name) => failed(Code::Usage).caused_by(name),
        ClientError::NoResponders { subject, .. } => {
            failed(Code::HostNotFound).cause(format!("no responders on {subject}"))
        }
        ClientError::Timeout { .. } => failed(Code::Timeout).caused_by(error),
        ClientError::Refused {
            code,
            message,
            cause,
            ..
        } => {
            let failure = failed(code.map_or(Code::Refused, refusal)).cause(message.as_str());
            match cause {
                Some(cause) => failure.cause(cause.as_str()),
                None => failure,
            }
        }
        ClientError::Transport { .. } => failed(Code::NatsUnreachable).caused_by(error),
        ClientError::TooLarge { .. } => failed(Code::InvalidInput).caused_by(error),
        _ => failed(Code::BadReply).caused_by(error),
    };
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn refusal(code: ErrorCode) -> Code {
    match code {
        ErrorCode::NotFound | ErrorCode::NotRunning => Code::EntityNotFound,
        ErrorCode::MissingConfig => Code::ConfigNotFound,
        ErrorCode::InvalidId | ErrorCode::InvalidReference => Code::Usage,
        ErrorCode::Timeout => Code::Timeout,
        _ => Code::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: Option<ErrorCode>) -> ClientError {
        ClientError::Refused {
            operation: "link.put".into(),
            code,
            message: "no".into(),
            cause: Some("because".into()),
            hint: Some("ask nicely".into()),
        }
    }

    #[test]
    fn refusals_keep_message_cause_and_hint() {
        let error = explain("could not put the link", &refused(None));
        assert_eq!((error.code(), error.exit()), (Code::Refused, 4));
        assert_eq!(error.causes(), ["no", "because"]);
        assert_eq!(error.hint_text(), Some("ask nicely"));
        assert_eq!(
            explain("x", &refused(Some(ErrorCode::NotRunning))).exit(),
            3
        );
    }

    #[test]
    fn a_silent_subject_of_one_host_is_not_an_empty_lattice() {
        let host = format!("N{}", "A".repeat(55));
        assert!(names_host(&format!(
            "wasmbus.ctl.v1.default.host.get.{host}"
        )));
        assert!(!names_host("wasmbus.ctl.v1.default.link.put"));
    }
}
