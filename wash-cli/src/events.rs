//! Waiting for events: commands end when the lattice has done what they asked for.

use std::time::Duration;

use lattice_control::EventStream;
use lattice_core::event::{CloudEvent, ComponentScaleFailed, ComponentScaled, Event, EventKind};
use lattice_core::link::{LinkState, LinkStatus};
use lattice_core::{ErrorCode, HostId, Link};

use crate::advice;
use crate::connection::Lattice;
use crate::error::{CliError, Code, Result};

/// How long a component may take to start, unless the user says otherwise.
pub(crate) const COMPONENT_WAIT: Duration = Duration::from_secs(10);
/// How long a provider may take to start.
pub(crate) const PROVIDER_WAIT: Duration = Duration::from_secs(60);

/// Events of some kinds, from before the request is sent.
#[derive(Debug)]
pub(crate) struct Watch {
    events: EventStream,
    within: Duration,
    /// The option with which the user makes that longer.
    longer_with: &'static str,
}

impl Watch {
    async fn new(lattice: &Lattice, kinds: &[EventKind], within: Duration) -> Result<Self> {
        let events = lattice.client.events(kinds).await;
        let events =
            events.map_err(|error| lattice.explain("could not subscribe to events", &error))?;
        Ok(Self {
            events,
            within,
            longer_with: "-t",
        })
    }

    /// Another option than that for the timeout says how long it waits.
    pub(crate) fn longer_with(self, option: &'static str) -> Self {
        Self {
            longer_with: option,
            ..self
        }
    }

    pub(crate) async fn components(lattice: &Lattice, within: Duration) -> Result<Self> {
        let kinds = [EventKind::ComponentScaled, EventKind::ComponentScaleFailed];
        Self::new(lattice, &kinds, within).await
    }

    pub(crate) async fn providers(lattice: &Lattice, within: Duration) -> Result<Self> {
        let kinds = [
            EventKind::ProviderStarted,
            EventKind::ProviderStartFailed,
            EventKind::ProviderStopped,
        ];
        Self::new(lattice, &kinds, within).await
    }

    pub(crate) async fn hosts(lattice: &Lattice, within: Duration) -> Result<Self> {
        Self::new(lattice, &[EventKind::HostStopped], within).await
    }

    async fn wait<T>(
        &mut self,
        what: impl Into<String>,
        pick: impl FnMut(CloudEvent) -> Option<Result<T>>,
    ) -> Result<T> {
        match self.events.wait_for(self.within, pick).await {
            Some(result) => result,
            None => Err(self.late(what)),
        }
    }

    fn late(&self, what: impl Into<String>) -> CliError {
        CliError::new(Code::Timeout, what)
            .cause(format!("no such event came within {:?}", self.within))
            .hint(format!(
                "it may still happen: look at `wash get inventory` and the log of the host, or wait \
                 longer with `{}`",
                self.longer_with
            ))
    }

    /// Waits until the component runs on the host as `seen` wants it.
    pub(crate) async fn scaled(
        &mut self,
        host: &HostId,
        id: &str,
        asked: Asked<'_>,
        seen: impl Fn(&ComponentScaled) -> bool,
    ) -> Result<()> {
        let what = not_scaled(id, host);
        self.wait(what, |event| scaled_on(host, id, asked, &event, &seen))
            .await
    }

    /// Waits until the provider was started on the host.
    pub(crate) async fn provider_started(&mut self, host: &HostId, id: &str) -> Result<()> {
        let what = format!("provider `{id}` did not start in time on host `{host}`");
        self.wait(what, |event| {
            if event.source != host.as_str() {
                return None;
            }
            match event.event {
                Event::ProviderStarted(data) if data.provider_id == id => Some(Ok(())),
                Event::ProviderStartFailed(data) if data.provider_id == id => Some(Err(failed(
                    format!("provider `{id}` could not be started on host `{host}`"),
                    &data.error,
                    data.code,
                    data.hint.as_deref(),
                ))),
                _ => None,
            }
        })
        .await
    }

    /// Waits until the provider was stopped on the host.
    pub(crate) async fn provider_stopped(&mut self, host: &HostId, id: &str) -> Result<()> {
        let what = format!("provider `{id}` did not stop in time on host `{host}`");
        self.wait(what, |event| match event.event {
            Event::ProviderStopped(data)
                if event.source == host.as_str() && data.provider_id == id =>
            {
                Some(Ok(()))
            }
            _ => None,
        })
        .await
    }

    /// Waits until the host has said goodbye.
    pub(crate) async fn host_stopped(&mut self, host: &HostId) -> Result<()> {
        let what = format!("host `{host}` did not stop in time");
        self.wait(what, |event| match event.event {
            Event::HostStopped(_) if event.source == host.as_str() => Some(Ok(())),
            _ => None,
        })
        .await
    }
}

fn not_scaled(id: &str, host: &HostId) -> String {
    format!("component `{id}` was not scaled in time on host `{host}`")
}

/// What a command about a component asked for: hosts say it again of what failed, so that the failure
/// of somebody else's command is not taken for its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) image: &'a str,
    /// How many instances, where the command says it.
    pub(crate) count: Option<u32>,
}

impl Asked<'_> {
    fn is(self, failed: &ComponentScaleFailed) -> bool {
        let same_count = self.count.is_none_or(|count| count == failed.max_instances);
        failed.image_ref == self.image && same_count
    }
}

/// What an event says of a component that is scaled on a host, if it says anything.
fn scaled_on(
    host: &HostId,
    id: &str,
    asked: Asked<'_>,
    event: &CloudEvent,
    seen: impl Fn(&ComponentScaled) -> bool,
) -> Option<Result<()>> {
    if event.source != host.as_str() {
        return None;
    }
    match &event.event {
        Event::ComponentScaled(data) if data.component_id == id && seen(data) => Some(Ok(())),
        Event::ComponentScaleFailed(data) if data.component_id == id && asked.is(data) => {
            Some(Err(failed(
                format!("component `{id}` could not be scaled on host `{host}`"),
                &data.error,
                data.code,
                data.hint.as_deref(),
            )))
        }
        _ => None,
    }
}

/// What providers say about one link, from before it is stored.
#[derive(Debug)]
pub(crate) struct LinkReports {
    events: EventStream,
}

/// A copy of a provider at one end of a link: its id and its host.
pub(crate) type LinkEnd = (String, String);

impl LinkReports {
    pub(crate) async fn listen(lattice: &Lattice) -> Result<Self> {
        let events = lattice.client.events(&[EventKind::LinkStatusChanged]).await;
        let events =
            events.map_err(|error| lattice.explain("could not subscribe to events", &error))?;
        Ok(Self { events })
    }

    /// Collects reports about the link until every end has said that it is ready or has failed,
    /// or the time is up: providers of 1.x say nothing.
    pub(crate) async fn collect(
        &mut self,
        link: &Link,
        ends: &[LinkEnd],
        within: Duration,
    ) -> Vec<LinkStatus> {
        let mut told: Vec<LinkStatus> = Vec::new();
        let mut missing: Vec<LinkEnd> = ends.to_vec();
        if missing.is_empty() {
            return told;
        }
        let all = self.events.wait_for(within, |event| {
            let status = report_of(event, link)?;
            if status.state == LinkState::Pending {
                return None;
            }
            let end = (status.endpoint.clone(), status.host_id.clone());
            told.retain(|before| (&before.endpoint, &before.host_id) != (&end.0, &end.1));
            told.push(status);
            missing.retain(|waiting| *waiting != end);
            missing.is_empty().then_some(())
        });
        // What came in time counts, even if it is not all.
        let _ = all.await;
        told
    }
}

fn report_of(event: CloudEvent, link: &Link) -> Option<LinkStatus> {
    let Event::LinkStatusChanged(data) = event.event else {
        return None;
    };
    let same = data.source_id == link.source_id
        && data.target == link.target
        && data.name == link.name
        && data.wit_namespace == link.wit_namespace
        && data.wit_package == link.wit_package;
    same.then_some(LinkStatus {
        endpoint: data.endpoint,
        host_id: data.host_id,
        state: data.state,
        reason: data.reason,
    })
}

/// Whether the event tells that a scale is done. A host that also updates tells the new count
/// first, with the image that it has, and the new image then.
pub(crate) fn is_done(event: &ComponentScaled, count: u32, update_to: Option<&str>) -> bool {
    let updated = update_to.is_none_or(|image| count == 0 || event.image_ref == image);
    event.max_instances == count && updated
}

/// What a host could not do, and why.
fn failed(what: String, why: &str, code: Option<ErrorCode>, hint: Option<&str>) -> CliError {
    let (code, hint) = advice::about(why, code, hint);
    CliError::new(code, what).cause(why).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_of_another_command_is_not_taken_for_that_of_this_one() {
        let host = HostId::new(format!("N{}", "A".repeat(55))).unwrap();
        let told = |image: &str, count| {
            let failed = ComponentScaleFailed {
                component_id: "cart".into(),
                image_ref: image.into(),
                max_instances: count,
                error: "no such file".into(),
                ..ComponentScaleFailed::default()
            };
            CloudEvent::now(&host, Event::ComponentScaleFailed(failed))
        };
        let fails = |asked, event: &CloudEvent| {
            scaled_on(&host, "cart", asked, event, |_| true).is_some_and(|told| told.is_err())
        };
        let (image, count) = ("file:///cart.wasm", Some(2));
        let scale = Asked { image, count };
        assert!(fails(scale, &told(image, 2)));
        assert!(!fails(scale, &told(image, 3)));
        assert!(!fails(scale, &told("file:///other.wasm", 2)));
        let update = Asked { image, count: None };
        assert!(fails(update, &told(image, 3)));
        assert!(!fails(update, &told("file:///other.wasm", 3)));
    }

    #[test]
    fn a_scale_with_an_update_is_done_when_the_new_image_runs() {
        let event = |image: &str, count| ComponentScaled {
            image_ref: image.into(),
            max_instances: count,
            ..ComponentScaled::default()
        };
        assert!(is_done(&event("old", 2), 2, None));
        assert!(!is_done(&event("old", 1), 2, None));
        assert!(!is_done(&event("old", 2), 2, Some("new")));
        assert!(is_done(&event("new", 2), 2, Some("new")));
        assert!(
            is_done(&event("old", 0), 0, Some("new")),
            "what stops is not updated"
        );
    }
}
