//! Asks one provider process for its health, from its start to its end.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the health subjects of providers"
)]

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, RequestErrorKind, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::provider::{HealthCheckResponse, LinkReport};
use lattice_core::road::RoadReport;
use lattice_core::{Backoff, HostId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
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
                false => self.ask_both(self.timeout).await,
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
        let mut backoff = Backoff::exact(FIRST_PAUSE, LAST_PAUSE);
        loop {
            // Its own question is not to wait long for who may never answer.
            let probed = self.ask_both(OTHERS).await;
            if !matches!(probed, Probed::Miss(_)) || Instant::now() >= settled {
                return Some(probed);
            }
            sleep(backoff.delay()).await;
            if results.is_closed() {
                return None;
            }
        }
    }

    /// Asks at once where a process of our kind listens and where old ones do. That nobody listens at
    /// the one is not always told: whoever records everything listens there, too.
    async fn ask_both(&self, patience: Duration) -> Probed {
        let mut own = pin!(self.request(&self.own_subject));
        let mut all = pin!(self.ask_all(patience));
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
                // An old process with the same id may just have been faster than ours.
                Probed::Anonymous(other) => match timeout(OTHERS, own).await {
                    Ok(Asked::Answer(response)) => Probed::Answer(response),
                    _ => Probed::Anonymous(other),
                },
                answered => answered,
            },
        }
    }

    async fn ask_it(&self) -> Probed {
        match self.request(&self.own_subject).await {
            Asked::Answer(response) => Probed::Answer(response),
            Asked::NobodyThere => self.ask_all(self.timeout).await,
            Asked::Miss(why) => Probed::Miss(why),
        }
    }

    /// Asks where old providers listen. A process that says that it belongs to another host has
    /// just been faster than ours, or ours is not there: it is waited for as long as `patience`.
    async fn ask_all(&self, patience: Duration) -> Probed {
        let mut others_until = None;
        let asked = self.first_answer_of_own(patience, &mut others_until);
        let answered = timeout(self.timeout, asked).await;
        match answered {
            Ok(Some(probed)) => probed,
            Ok(None) | Err(_) => Probed::Miss(match others_until {
                Some(_) => "only processes of other hosts answer".to_owned(),
                None => format!("no answer within {:?}", self.timeout),
            }),
        }
    }

    /// The first answer that is not of another host's process. Once one of those has come, it is not
    /// waited longer than `patience`.
    async fn first_answer_of_own(
        &self,
        patience: Duration,
        others_until: &mut Option<Instant>,
    ) -> Option<Probed> {
        let inbox = self.nats.new_inbox();
        let mut answers = match self.nats.subscribe(inbox.clone()).await {
            Ok(answers) => answers,
            Err(error) => return Some(Probed::Miss(error.to_string())),
        };
        let subject = self.subject.clone();
        let asked = self
            .nats
            .publish_with_reply(subject, inbox, Bytes::new())
            .await;
        if let Err(error) = asked {
            return Some(Probed::Miss(error.to_string()));
        }
        loop {
            let answer = match *others_until {
                Some(until) => timeout_at(until, answers.next()).await.ok()?,
                None => answers.next().await,
            };
            let Some(message) = answer else {
                let why = "the connection to NATS has ended".to_owned();
                return Some(Probed::Miss(why));
            };
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return Some(Probed::Miss("nobody listens".to_owned()));
            }
            let response = match read(&message.payload) {
                Ok(response) => response,
                Err(why) => return Some(Probed::Miss(why)),
            };
            match &response.host_id {
                None => return Some(Probed::Anonymous(response)),
                Some(host) if self.host == **host => return Some(Probed::Answer(response)),
                Some(_) => {
                    others_until.get_or_insert_with(|| Instant::now() + patience);
                }
            }
        }
    }

    async fn request(&self, subject: &str) -> Asked {
        let request = self.nats.request(subject.to_owned(), Bytes::new());
        match timeout(self.timeout, request).await {
            Ok(Ok(message)) => match read(&message.payload) {
                Ok(response) => Asked::Answer(response),
                Err(why) => Asked::Miss(why),
            },
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Asked::NobodyThere,
            Ok(Err(error)) => Asked::Miss(error.to_string()),
            Err(_) => Asked::Miss(format!("no answer within {:?}", self.timeout)),
        }
    }
}

/// An answer, or why it is none.
fn read(answer: &[u8]) -> Result<HealthCheckResponse, String> {
    serde_json::from_slice(answer).map_err(|error| {
        let why = unreadable(&error);
        format!("the answer is not readable: {why}")
    })
}

/// Whose answers to health requests count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Respondents {
    All,
    /// Those that do not say which host has started who answers: processes of the 1.9 generation.
    Of19,
}

impl Respondents {
    fn includes(self, answer: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Of19 => !read(answer).is_ok_and(|answer| answer.host_id.is_some()),
        }
    }
}

/// Whether more than one process answers health requests at `subject`; see [`at_least_answer`].
pub(crate) async fn are_several(nats: &Client, subject: &str, within: Duration) -> bool {
    at_least_answer(nats, subject, within, 2, Respondents::All).await
}

/// Whether at least so many processes answer health requests at `subject`. Where there are fewer, that
/// takes all the time `within` which others may answer: half a second at least, and five at most.
pub(crate) async fn at_least_answer(
    nats: &Client,
    subject: &str,
    within: Duration,
    least: usize,
    respondents: Respondents,
) -> bool {
    let inbox = nats.new_inbox();
    let answered = async {
        let mut answers = nats.subscribe(inbox.clone()).await.ok()?;
        let asked = nats.publish_with_reply(subject.to_owned(), inbox, Bytes::new());
        asked.await.ok()?;
        let mut missing = least;
        while missing > 0 {
            let answer = answers.next().await?;
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                return None;
            }
            missing -= usize::from(respondents.includes(&answer.payload));
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
        answering_each(nats, HEALTH, vec!["{}".to_owned()]).await
    }

    /// Answers as several processes do, one after the other.
    async fn answering_each(
        nats: Client,
        subject: &'static str,
        answers: Vec<String>,
    ) -> AbortOnDropHandle<()> {
        let mut asked = nats.subscribe(subject).await.unwrap();
        lattice_nats_box::taken_in(&nats).await.unwrap();
        AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(question) = asked.next().await {
                let reply = question.reply.unwrap();
                for answer in &answers {
                    let answer = answer.clone().into();
                    nats.publish(reply.clone(), answer).await.unwrap();
                }
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

    fn host(letter: &str) -> HostId {
        HostId::new(format!("N{}", letter.repeat(55))).unwrap()
    }

    fn answer(host: Option<&HostId>) -> String {
        let host = host.map(HostId::as_str);
        serde_json::json!({"healthy": true, "host_id": host}).to_string()
    }

    async fn probe(nats: &NatsBox) -> Probe {
        Probe {
            nats: nats.client().await.unwrap(),
            host: host("A"),
            own_subject: "own".to_owned(),
            subject: HEALTH.to_owned(),
            timeout: FAR_OTHERS,
            interval: AGAIN,
            settling: AGAIN,
        }
    }

    #[tokio::test]
    async fn one_that_answers_after_those_of_other_hosts_is_heard() {
        let nats = NatsBox::start().await.unwrap();
        let mut probe = probe(&nats).await;
        let (own, other) = (answer(Some(&host("A"))), answer(Some(&host("B"))));
        for (subject, ours, is_old) in [("old", answer(None), true), ("new", own, false)] {
            let answers = vec![other.clone(), other.clone(), ours];
            let client = nats.client().await.unwrap();
            let _all = answering_each(client, subject, answers).await;
            probe.subject = subject.to_owned();
            match probe.ask_both(probe.timeout).await {
                Probed::Anonymous(_) => assert!(is_old),
                Probed::Answer(_) => assert!(!is_old),
                Probed::Miss(why) => panic!("{why}"),
            }
        }
        let client = nats.client().await.unwrap();
        let _others = answering_each(client, HEALTH, vec![other]).await;
        probe.subject = HEALTH.to_owned();
        probe.timeout = OTHERS;
        let Probed::Miss(why) = probe.ask_both(probe.timeout).await else {
            panic!("another's answer was taken for its own");
        };
        assert!(why.contains("other hosts"), "{why}");
        probe.subject = "nobody".to_owned();
        let Probed::Miss(why) = probe.ask_both(probe.timeout).await else {
            panic!("somebody answers");
        };
        assert_eq!(why, "nobody listens");
    }

    #[tokio::test]
    async fn a_process_of_ours_is_known_though_an_old_one_answers_first() {
        let nats = NatsBox::start().await.unwrap();
        let probe = probe(&nats).await;
        let old = nats.client().await.unwrap();
        let _old = answering_each(old, HEALTH, vec![answer(None)]).await;
        let middleman = Middleman::before(nats.port).await.unwrap();
        let own = async_nats::connect(middleman.instead_of(&nats.url));
        let answers = vec![answer(Some(&probe.host))];
        let _own = answering_each(own.await.unwrap(), "own", answers).await;
        middleman.delay(Duration::from_millis(50));
        let probed = probe.ask_both(probe.timeout).await;
        assert!(matches!(probed, Probed::Answer(_)), "{probed:?}");
    }

    #[tokio::test]
    async fn a_start_is_seen_soon_though_processes_of_other_hosts_answer() {
        let nats = NatsBox::start().await.unwrap();
        let mut probe = probe(&nats).await;
        probe.timeout = 60 * FAR_OTHERS;
        let other = nats.client().await.unwrap();
        let mut asked = other.subscribe(HEALTH).await.unwrap();
        let _other = answering_each(other, HEALTH, vec![answer(Some(&host("B")))]).await;
        let own = nats.client().await.unwrap();
        let (results, _queue) = mpsc::channel(1);
        let starting = async {
            // The first question is lost on it.
            asked.next().await.unwrap();
            let own = answering_each(own, "own", vec![answer(Some(&host("A")))]).await;
            // Kept until the end: it answers no longer than that.
            Some(own)
        };
        let both = async { tokio::join!(probe.first(&results), starting) };
        let (first, _own) = timeout(4 * FAR_OTHERS, both).await.unwrap();
        assert!(matches!(first, Some(Probed::Answer(_))), "{first:?}");
    }

    #[tokio::test]
    async fn those_who_say_whose_they_are_are_told_from_those_who_do_not() {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let other = answer(Some(&host("B")));
        let named = vec![other.clone(), other.clone()];
        let _named = answering_each(client.clone(), "named", named).await;
        let _mixed = answering_each(client.clone(), "mixed", vec![other, answer(None)]).await;
        for (subject, expected) in [("named", false), ("mixed", true)] {
            let is_any = at_least_answer(&client, subject, OTHERS, 1, Respondents::Of19).await;
            assert_eq!(is_any, expected, "{subject}");
            let are_two = at_least_answer(&client, subject, FAR_OTHERS, 2, Respondents::All).await;
            assert!(are_two, "{subject}");
        }
        let asked = at_least_answer(&client, "nobody", FAR_OTHERS, 1, Respondents::All);
        assert!(!timeout(FAR_OTHERS / 2, asked).await.unwrap());
    }
}
