//! Asks one provider process for its health, from its start to its end.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the health subjects of providers"
)]

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, RequestErrorKind};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::HostId;
use lattice_core::provider::{HealthCheckResponse, LinkReport};
use lattice_core::road::RoadReport;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::report_filter::unreadable;

/// When one is asked again whose first answer may have been another's.
const AGAIN: Duration = Duration::from_secs(5);
/// The pauses between requests to a new process, growing from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether the host has connected anew.
const LOOK: Duration = Duration::from_secs(1);
/// How much sooner a provider is asked again that did not answer.
const SOONER: u32 = 10;

/// How long it is waited for other processes with the id of a provider, at least and at most.
const OTHERS: Duration = Duration::from_millis(500);
const FAR_OTHERS: Duration = Duration::from_secs(5);

/// How long an inventory waits for what a provider has counted.
const ROADS: Duration = Duration::from_millis(500);

/// What came of one request.
#[derive(Debug)]
pub(crate) enum Probed {
    Answer(HealthCheckResponse),
    /// From some process with this provider id, most likely the one that is meant: providers of
    /// the 1.9 generation do not say who they are.
    Anonymous(HealthCheckResponse),
    /// No answer, or none that can be read.
    Miss(String),
}

/// How and how often to ask.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) nats: Client,
    /// The host that has started the process.
    pub(crate) host: HostId,
    /// Where only the process itself listens, if it is of our kind.
    pub(crate) own_subject: String,
    /// Where all processes with the same provider id listen.
    pub(crate) subject: String,
    pub(crate) timeout: Duration,
    pub(crate) interval: Duration,
    /// For how long a new process may stay silent without that being counted.
    pub(crate) settling: Duration,
}

impl Probe {
    /// Whether a process with this provider id answers already, before ours is started.
    pub(crate) async fn is_another_there(&self) -> bool {
        matches!(self.request(&self.subject).await, Asked::Answer(_))
    }

    /// Asks until dropped. The first answer comes as soon as the process listens.
    pub(crate) fn start(self) -> (mpsc::Receiver<Probed>, AbortOnDropHandle<()>) {
        let (results, queue) = mpsc::channel(4);
        let task = tokio::spawn(self.run(results));
        (queue, AbortOnDropHandle::new(task))
    }

    async fn run(self, results: mpsc::Sender<Probed>) {
        let Some(first) = self.first(&results).await else {
            return;
        };
        let mut probed = first;
        let mut settling = true;
        // Whether the process listens where nobody else does.
        let mut is_ours = false;
        loop {
            is_ours |= matches!(probed, Probed::Answer(_));
            let pause = match &probed {
                // It may have been another's, so a second one follows soon.
                Probed::Anonymous(_) if settling => AGAIN.min(self.interval),
                Probed::Answer(_) | Probed::Anonymous(_) => self.interval,
                Probed::Miss(_) => self.interval / SOONER,
            };
            settling = false;
            if results.send(probed).await.is_err() {
                return;
            }
            self.pause(pause).await;
            probed = match is_ours {
                true => self.ask_it().await,
                false => self.ask_both().await,
            };
        }
    }

    /// Waits, not as long where the host has connected to NATS again meanwhile: what was told in between
    /// is lost, which the next answer brings to light.
    async fn pause(&self, time: Duration) {
        let statistics = self.nats.statistics();
        let connects = || statistics.connects.load(Ordering::Relaxed);
        let (before, until) = (connects(), Instant::now() + time);
        while Instant::now() < until && connects() == before {
            sleep_until(until.min(Instant::now() + LOOK)).await;
        }
    }

    /// Waits for the first answer of a new process; `None` when nobody is interested any more.
    async fn first(&self, results: &mpsc::Sender<Probed>) -> Option<Probed> {
        let settled = Instant::now() + self.settling;
        let mut pause = FIRST_PAUSE;
        loop {
            let probed = self.ask_both().await;
            if !matches!(probed, Probed::Miss(_)) || Instant::now() >= settled {
                return Some(probed);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
            if results.is_closed() {
                return None;
            }
        }
    }

    /// Asks at once where a process of our kind listens and where old ones do. That nobody listens at
    /// the one is not always told: whoever records everything listens there, too.
    async fn ask_both(&self) -> Probed {
        let mut own = pin!(self.request(&self.own_subject));
        let mut all = pin!(self.ask_all());
        tokio::select! {
            own = &mut own => match own {
                Asked::Answer(response) => Probed::Answer(response),
                Asked::NobodyThere | Asked::Miss(_) => all.await,
            },
            all = &mut all => match all {
                Probed::Miss(why) => match own.await {
                    Asked::Answer(response) => Probed::Answer(response),
                    Asked::NobodyThere | Asked::Miss(_) => Probed::Miss(why),
                },
                answered => answered,
            },
        }
    }

    async fn ask_it(&self) -> Probed {
        match self.request(&self.own_subject).await {
            Asked::Answer(response) => Probed::Answer(response),
            Asked::NobodyThere => self.ask_all().await,
            Asked::Miss(why) => Probed::Miss(why),
        }
    }

    /// Asks where old providers listen. A process that says that it belongs to another host has
    /// just been faster than ours, or ours is not there.
    async fn ask_all(&self) -> Probed {
        match self.request(&self.subject).await {
            Asked::Answer(response) => match &response.host_id {
                None => Probed::Anonymous(response),
                Some(host) if self.host == **host => Probed::Answer(response),
                Some(_) => Probed::Miss("only processes of other hosts answer".to_owned()),
            },
            Asked::NobodyThere => Probed::Miss("nobody listens".to_owned()),
            Asked::Miss(why) => Probed::Miss(why),
        }
    }

    async fn request(&self, subject: &str) -> Asked {
        let request = self.nats.request(subject.to_owned(), Bytes::new());
        match timeout(self.timeout, request).await {
            Ok(Ok(message)) => match serde_json::from_slice(&message.payload) {
                Ok(response) => Asked::Answer(response),
                Err(error) => {
                    let why = unreadable(&error);
                    Asked::Miss(format!("the answer is not readable: {why}"))
                }
            },
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Asked::NobodyThere,
            Ok(Err(error)) => Asked::Miss(error.to_string()),
            Err(_) => Asked::Miss(format!("no answer within {:?}", self.timeout)),
        }
    }
}

/// Whether more than one process answers health requests at `subject`. Where there is one only, that
/// takes all the time `within` which others may answer: half a second at least, and five at most.
pub(crate) async fn are_several(nats: &Client, subject: &str, within: Duration) -> bool {
    let inbox = nats.new_inbox();
    let answered = async {
        let mut answers = nats.subscribe(inbox.clone()).await.ok()?;
        let asked = nats.publish_with_reply(subject.to_owned(), inbox, Bytes::new());
        asked.await.ok()?;
        for _ in 0..2 {
            while answers.next().await?.status.is_some() {}
        }
        Some(())
    };
    let within = within.clamp(OTHERS, FAR_OTHERS);
    matches!(timeout(within, answered).await, Ok(Some(())))
}

/// Asks the process at `subject` which roads the calls of its links have taken. One that does not
/// know or is too slow has nothing to say.
pub(crate) async fn roads(nats: &Client, host: &HostId, subject: String) -> Vec<RoadReport> {
    let asked = timeout(ROADS, nats.request(subject, Bytes::new())).await;
    let Ok(Ok(answer)) = asked else {
        return Vec::new();
    };
    match serde_json::from_slice::<HealthCheckResponse>(&answer.payload) {
        Ok(answer) => taken(host, answer),
        Err(error) => {
            let error = unreadable(&error);
            tracing::debug!(error, "a provider's health is not readable");
            Vec::new()
        }
    }
}

fn taken(host: &HostId, answer: HealthCheckResponse) -> Vec<RoadReport> {
    let own = |report: &LinkReport| *host == *report.host_id && !report.roads.is_empty();
    let reports = answer.links.into_iter().filter(own);
    let roads = reports.map(|report| RoadReport {
        source_id: report.source_id,
        target: report.target,
        wit_namespace: report.wit_namespace,
        wit_package: report.wit_package,
        name: report.name,
        roads: report.roads,
    });
    roads.collect()
}

/// What came of one message.
#[derive(Debug)]
enum Asked {
    Answer(HealthCheckResponse),
    NobodyThere,
    Miss(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_nats_box::{Middleman, NatsBox};

    const HEALTH: &str = "health";

    /// Answers as a provider does.
    async fn answering(nats: Client) -> AbortOnDropHandle<()> {
        let mut asked = nats.subscribe(HEALTH).await.unwrap();
        lattice_nats_box::taken_in(&nats).await.unwrap();
        AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(question) = asked.next().await {
                let reply = question.reply.unwrap();
                nats.publish(reply, "{}".into()).await.unwrap();
            }
        }))
    }

    #[tokio::test]
    async fn another_process_with_the_id_is_noticed_though_it_is_far_away() {
        let nats = NatsBox::start().await.unwrap();
        let _one = answering(nats.client().await.unwrap()).await;
        let client = nats.client().await.unwrap();
        assert!(!are_several(&client, HEALTH, OTHERS).await);
        let middleman = Middleman::before(nats.port).await.unwrap();
        let far = async_nats::connect(middleman.instead_of(&nats.url));
        let _other = answering(far.await.unwrap()).await;
        middleman.delay(Duration::from_millis(400));
        assert!(are_several(&client, HEALTH, FAR_OTHERS).await);
    }
}
