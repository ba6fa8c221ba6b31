//! `wash policy serve`: answers hosts by the rules in a file, and tells them when these change.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects of the policy service"
)]

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, Message};
use futures::StreamExt as _;
use lattice_core::policy::{PolicyRequest, PolicyResponse};
use lattice_core::subject::TopicPrefix;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::file::{self, Followed};
use super::memory::Memory;
use super::rules::Rules;
use crate::connection::{self, ConnectionArgs};
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, eprint_line, print_line};
use crate::signals::Signals;

/// How often the file is looked at, and how long other rules have to stay as they are to count.
const LOOK: Duration = Duration::from_millis(500);
/// How long the server may take to take something in.
const FLUSH: Duration = Duration::from_secs(5);
/// Several services share the requests.
const QUEUE_GROUP: &str = "wash-policy";

/// Answer the hosts of a lattice by the rules in a file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File of rules; a change of it counts once it has stood there for half a second
    #[arg(value_name = "FILE")]
    rules: PathBuf,
    /// Subject at which hosts ask (their `--policy-topic`)
    #[arg(
        long,
        env = "WASMCLOUD_POLICY_TOPIC",
        default_value = "wasmcloud.policy"
    )]
    topic: String,
    /// Subject at which changed decisions are told (their `--policy-changes-topic`)
    #[arg(
        long,
        env = "WASMCLOUD_POLICY_CHANGES_TOPIC",
        default_value = "wasmcloud.policy.changes"
    )]
    changes_topic: String,
    /// Print each request as JSON, for `wash policy test`
    #[arg(long)]
    show_requests: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let mut signals = Signals::listen()?;
    let rules = file::read(&args.rules)?;
    let topic = subject(&args.topic)?;
    let changes = subject(&args.changes_topic)?;
    let settings = args.connection.given().settle()?;
    let (nats, _rotation) = connection::connect_for_long(&settings).await?;
    let subscribed = nats
        .queue_subscribe(topic.as_str().to_owned(), QUEUE_GROUP.to_owned())
        .await;
    let mut requests = subscribed.map_err(|error| {
        CliError::new(
            Code::NatsUnreachable,
            format!("could not listen at `{}`", topic.as_str()),
        )
        .caused_by(&error)
    })?;
    flush(&nats).await?;
    let mut service = Service {
        nats,
        changes,
        memory: Memory::default(),
        rules,
        file: Followed::new(args.rules),
        show_requests: args.show_requests,
        json: ui.is_json(),
        told: None,
    };
    service.say_ready(topic.as_str());
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            stop = signals.recv() => return Ok(Output::silent().exit_with(stop.exit())),
            _ = looks.tick() => service.look().await,
            request = requests.next() => match request {
                Some(request) => service.answer(request).await,
                None => return Err(CliError::new(Code::NatsUnreachable, "the subscription has ended")),
            },
        }
    }
}

fn subject(text: &str) -> Result<TopicPrefix> {
    TopicPrefix::new(text).map_err(|error| {
        CliError::new(
            Code::Usage,
            format!("`{text}` is no subject for a policy service"),
        )
        .caused_by(&error)
        .hint("name tokens joined by dots, such as `shop.policy`")
    })
}

async fn flush(nats: &Client) -> Result<()> {
    match timeout(FLUSH, nats.flush()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(CliError::new(
            Code::NatsUnreachable,
            "the NATS server takes nothing in",
        )
        .caused_by(&error)),
        Err(_) => Err(CliError::new(
            Code::Timeout,
            format!("the NATS server took nothing in within {FLUSH:?}"),
        )),
    }
}

struct Service {
    nats: Client,
    changes: TopicPrefix,
    memory: Memory,
    rules: Rules,
    file: Followed,
    show_requests: bool,
    json: bool,
    /// What was said last about a file of rules that cannot be read.
    told: Option<String>,
}

impl Service {
    fn say_ready(&self, topic: &str) {
        let count = self.rules.len();
        let file = self.file.path().display();
        eprint_line(&format!("answering at {topic} by {count} rules of {file}"));
    }

    async fn answer(&mut self, message: Message) {
        let Some(reply) = message.reply else {
            return;
        };
        let request: PolicyRequest = match serde_json::from_slice(&message.payload) {
            Ok(request) => request,
            Err(error) => {
                // Without an answer the host takes it for a no.
                eprint_line(&format!("warning: ignored what is no request: {error}"));
                return;
            }
        };
        let decision = self.rules.decide(&request);
        let response = decision.response(&request);
        self.show(&request, &response, &decision.by);
        self.send(reply.to_string(), &response).await;
        self.memory.keep(request, response);
    }

    /// Takes over the rules if they have changed, and tells of all that changes with them.
    async fn look(&mut self) {
        let rules = match self.file.look(&self.rules) {
            Ok(None) => return,
            Ok(Some(rules)) => rules,
            Err(error) => return self.keep_old(&error),
        };
        self.rules = rules;
        self.told = None;
        let file = self.file.path().display();
        eprint_line(&format!("took over {} rules of {file}", self.rules.len()));
        for (request, response) in self.memory.changes(&self.rules) {
            self.show(&request, &response, "change of the rules");
            self.send(self.changes.as_str().to_owned(), &response).await;
        }
    }

    /// A file that is being written, or wrong, takes no rule away. Said once for each state of it.
    fn keep_old(&mut self, error: &CliError) {
        let text = error.to_string();
        if self.told.as_deref() != Some(text.as_str()) {
            eprint_line(&format!("warning: the rules of before go on: {text}"));
            self.told = Some(text);
        }
    }

    async fn send(&self, subject: String, response: &PolicyResponse) {
        let payload = match serde_json::to_vec(response) {
            Ok(payload) => payload,
            Err(error) => {
                return eprint_line(&format!("warning: could not write an answer: {error}"));
            }
        };
        if let Err(error) = self.nats.publish(subject, payload.into()).await {
            eprint_line(&format!("warning: could not send an answer: {error}"));
        }
    }

    fn show(&self, request: &PolicyRequest, response: &PolicyResponse, by: &str) {
        if self.show_requests {
            match serde_json::to_string(request) {
                Ok(text) => print_line(&text),
                Err(error) => eprint_line(&format!("warning: could not show a request: {error}")),
            }
            return;
        }
        if self.json {
            let line = serde_json::json!({
                "requestId": request.request_id, "kind": request.kind, "about": about(request),
                "permitted": response.permitted, "by": by, "message": response.message,
            });
            return print_line(&line.to_string());
        }
        let verdict = if response.permitted { "allow" } else { "deny " };
        print_line(&format!(
            "{verdict} {} {} ({by})",
            request.kind,
            about(request)
        ));
    }
}

/// What a request is about, in a few words.
fn about(request: &PolicyRequest) -> String {
    use lattice_core::policy::PolicySubject;
    match &request.request {
        PolicySubject::Component(component) => component.component_id.clone(),
        PolicySubject::Provider(provider) => provider.provider_id.clone(),
        PolicySubject::Invocation(call) => {
            format!(
                "{} {}.{}",
                call.target.component_id, call.interface, call.function
            )
        }
        PolicySubject::Other(_) => "?".to_owned(),
    }
}
