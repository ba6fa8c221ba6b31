//! What the lattice is told of one provider: that it has started, how it does, that it has ended.

use lattice_claims::provider_info;
use lattice_core::event::{Event, HealthCheck, ProviderExited};
use lattice_core::provider::{HealthCheckResponse, LinkReport};
use lattice_core::text::clipped_line;

use super::delivery::Confidence;
use super::error::StartProviderError;
use super::health::{Health, Verdict};
use super::probe::Probed;
use super::report;
use super::states::REASON;
use super::worker::{Announced, Worker};

impl Worker {
    pub(super) async fn probed(&mut self, health: &mut Health, probed: Probed) {
        match probed {
            Probed::Answer(response) => {
                let response = in_words(response);
                self.slot.set_legacy(false);
                self.answered(health, &response);
                self.met(Confidence::Surely, response.connects).await;
                if response.healthy {
                    self.heard_of(Confidence::Surely).await;
                }
                for report in response.links {
                    self.reported_of(report);
                }
            }
            Probed::Anonymous(response) => {
                if std::mem::take(&mut self.doubtful) {
                    return;
                }
                self.slot.set_legacy(true);
                let is_healthy = response.healthy;
                self.answered(health, &in_words(response));
                self.met(Confidence::Perhaps, None).await;
                if is_healthy {
                    self.heard_of(Confidence::Perhaps).await;
                }
            }
            Probed::Miss(why) => {
                self.missed(health, &why);
                if health.is_silent() {
                    self.try_its_credentials().await;
                }
            }
        }
    }

    /// Takes in what is said of a link. Anybody who may write to the subject says what he likes: of a
    /// link that is not there nothing is kept, and nothing told.
    pub(super) fn reported_of(&self, report: LinkReport) {
        if self.link_publisher.has(&report) {
            self.deps.states.reported(&self.slot.id, report);
        } else {
            let provider = self.slot.id.as_str();
            tracing::debug!(provider, "ignored a report of a link that is not there");
        }
    }

    pub(super) fn started(&mut self) {
        if self.announced != Announced::Started {
            self.announced = Announced::Started;
            let claims = self.program.claims.as_ref();
            report::started(&self.deps, &self.slot, claims.map(provider_info));
        }
    }

    /// Tells once that the provider has not started; it is tried again all the same.
    pub(super) fn not_started(&mut self, error: impl FnOnce() -> StartProviderError) {
        if self.announced == Announced::Nothing {
            self.announced = Announced::Failed;
            report::start_failed(&self.deps, &self.slot, &error());
        }
    }

    fn answered(&mut self, health: &mut Health, response: &HealthCheckResponse) {
        self.started();
        // Whoever answers is not shut out.
        self.trial.forget();
        let response = &self.judged(response);
        let verdict = health.answered(response);
        if verdict != Verdict::Status {
            let (provider, healthy) = (self.slot.id.as_str(), response.healthy);
            let message = response.message.as_deref();
            tracing::info!(
                provider,
                healthy,
                message,
                "the health of a provider changed"
            );
        }
        self.slot.set_problem(problem(response));
        self.tell_health(verdict, response.message.clone());
    }

    /// A process that does not take its credentials cannot do what its links are for, or can do more:
    /// it is not well, whatever it says.
    fn judged(&self, response: &HealthCheckResponse) -> HealthCheckResponse {
        match &self.unrenewed {
            Some(why) if response.healthy => HealthCheckResponse {
                healthy: false,
                message: Some(why.clone()),
                ..response.clone()
            },
            _ => response.clone(),
        }
    }

    fn missed(&self, health: &mut Health, why: &str) {
        let (verdict, misses) = (health.missed(), health.misses());
        let provider = self.slot.id.as_str();
        tracing::warn!(
            provider,
            misses,
            "a provider did not tell its health: {why}"
        );
        if let Some(verdict) = verdict {
            let text = format!("no answer to {misses} health requests: {why}");
            self.slot.set_problem(Some(text.clone()));
            self.tell_health(verdict, Some(text));
        }
    }

    pub(super) fn tell_health(&self, verdict: Verdict, message: Option<String>) {
        let data = HealthCheck {
            host_id: self.deps.identity.id.as_str().to_owned(),
            provider_id: self.slot.id.as_str().to_owned(),
            message,
        };
        self.deps.events.publish(verdict.event(data));
    }

    /// A process that ended by itself is a failure that everybody should see.
    pub(super) fn tell_exit(&self, why: &str, pause: std::time::Duration) {
        let restarts = self.restarts.count();
        let kind = if self.restarts.is_crash_loop() {
            "crash loop: "
        } else {
            ""
        };
        let text = format!(
            "{kind}the provider ended ({why}), {restarts} times in a row; next start in {pause:?}"
        );
        tracing::error!(provider = self.slot.id.as_str(), "{text}");
        self.deps
            .events
            .publish(Event::ProviderExited(ProviderExited {
                host_id: self.deps.identity.id.as_str().to_owned(),
                provider_id: self.slot.id.as_str().to_owned(),
                status: why.to_owned(),
                restarts,
                restart_in_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            }));
        self.slot.set_problem(Some(text.clone()));
        self.tell_health(Verdict::Failed, Some(text));
    }
}

/// What a process says of its health, as far as it is told on: the inventory of a host is one message.
fn in_words(response: HealthCheckResponse) -> HealthCheckResponse {
    let message = response.message.as_deref();
    HealthCheckResponse {
        message: message.map(|message| clipped_line(message, REASON)),
        ..response
    }
}

fn problem(response: &HealthCheckResponse) -> Option<String> {
    if response.healthy {
        return None;
    }
    let message = response
        .message
        .as_deref()
        .unwrap_or("the provider does not say why");
    Some(format!("unhealthy: {message}"))
}
