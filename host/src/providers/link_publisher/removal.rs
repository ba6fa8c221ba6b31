//! How a provider process learns that links are gone.
//!
//! All processes of a provider hear deletions on one subject. Whoever deletes a link publishes there; a
//! late repetition could take away a link that was put again, and 1.9 hosts tell a link once. So this host
//! publishes only when nobody else has, and never where other 1.9 processes would hear it.

use std::collections::HashSet;
use std::time::Duration;

use lattice_core::{Link, ResolvedLink};
use tokio::time::{Instant, sleep_until};

use super::{APART, LinkId, LinkPublisher, id_of};
use crate::providers::delivery::Generation;
use crate::providers::probe::{Respondents, at_least_answer};
use crate::providers::send::publish;
use crate::providers::tracked_link::TrackedLink;

/// How long who deletes a link may take to tell of that: our hosts wait until they see it themselves.
const REPORT_WITHIN: Duration = Duration::from_secs(2);

/// How long this host may take to see that a link is gone of which it is told so. A process of 1.9 that is
/// told such a link again may keep it for good.
const TABLE_FOLLOWS_WITHIN: Duration = Duration::from_secs(1);

/// How late this host may hear what it has said itself, perhaps after it has told the link anew.
const OWN_ECHO_WITHIN: Duration = Duration::from_secs(30);

/// A link that has left the table, of which the process has not heard so far.
#[derive(Debug)]
pub(super) struct UnreportedRemoval {
    pub(super) id: LinkId,
    link: Link,
    /// Until when others may say so.
    pub(super) by: Instant,
}

/// What all processes of a provider were told of a link that the table has.
#[derive(Debug)]
pub(super) struct ReportedGone {
    /// Until when the table may lose it.
    pub(super) by: Instant,
    /// Whether others have named this very link, and not perhaps this host.
    is_surely_gone: bool,
}

/// The link that is said to be gone.
fn named(removal: &ResolvedLink) -> Option<LinkId> {
    Some((removal.key().ok()?, removal.target.clone()))
}

impl LinkPublisher {
    /// Takes those links back from the process that were left out after it was told of them: before it
    /// loses what they need.
    pub(crate) async fn withdraw_left_out(&mut self) {
        let mut evicted = Vec::new();
        for id in &self.left_out {
            if let Some(tracked) = self.tracked.get_mut(id)
                && tracked.told.take().is_some()
            {
                tracked.is_withdrawn = true;
                evicted.push((id.clone(), tracked.link.clone()));
            }
        }
        self.withdraw(evicted).await;
    }

    /// Somebody has told all processes of the provider that links are gone. Those which stay are told
    /// again to this one. Who deletes a link says so at once; that it has left the store comes on another
    /// subscription, and may come later.
    pub(crate) fn heard_deletion(&mut self, gone: &[ResolvedLink]) {
        let gone: HashSet<LinkId> = gone.iter().filter_map(named).collect();
        if gone.is_empty() {
            return;
        }
        let now = Instant::now();
        // Whoever has said it, what is told next may not overtake it.
        self.removed_at = Some(now);
        let own_reports = &self.own_reports;
        let is_own = |id: &LinkId| {
            own_reports
                .get(id)
                .is_some_and(|&at| now < at + OWN_ECHO_WITHIN)
        };
        self.unreported
            .retain(|left| !gone.contains(&left.id) || is_own(&left.id));
        let keys: HashSet<_> = gone.iter().map(|(key, _)| key).collect();
        let ends = gone.iter().map(|(key, target)| (&key.source, target));
        let ends: HashSet<_> = ends.collect();
        // A process of 1.9 forgets all links of two ends for one.
        let by_ends = self.generation != Generation::Ours;
        let is_lost = |id: &LinkId| {
            keys.contains(&id.0) || (by_ends && ends.contains(&(&id.0.source, &id.1)))
        };
        let by = match self.generation {
            // It does without the link for as short as can be; what is told too much is taken back.
            Generation::Ours => now + APART,
            Generation::Unknown | Generation::Old => now + TABLE_FOLLOWS_WITHIN,
        };
        for id in self.tracked.keys().filter(|&id| is_lost(id)) {
            let is_surely_gone = gone.contains(id) && !is_own(id);
            let reported = ReportedGone { by, is_surely_gone };
            self.reported_gone.insert(id.clone(), reported);
        }
    }

    /// Tells links again that all processes were told are gone, and that are there all the same.
    pub(super) async fn retell_present_links(&mut self) {
        let now = Instant::now();
        let due = self
            .reported_gone
            .iter()
            .filter(|(_, reported)| reported.by <= now);
        let due: HashSet<LinkId> = due.map(|(id, _)| id.clone()).collect();
        self.reported_gone.retain(|id, _| !due.contains(id));
        for id in &due {
            // The process may miss it. One that it was not told is told of anyway when it can be.
            if self.tracked.get(id).is_some_and(|t| t.told.is_some()) {
                self.note(id.clone());
            }
        }
        if self.is_away() {
            // All is told again when the host is back.
            return;
        }
        for told in self.standing(|id| due.contains(id)) {
            self.tell(&told).await;
        }
    }

    /// A link has left the table.
    pub(super) fn link_left_table(&mut self, id: LinkId, tracked: TrackedLink) {
        let reported = self.reported_gone.remove(&id);
        if tracked.told.is_none() && !tracked.is_withdrawn {
            return;
        }
        // The process may have missed what it was told.
        self.note(id.clone());
        if reported.is_some_and(|reported| reported.is_surely_gone) {
            return;
        }
        let (link, by) = (tracked.link, Instant::now() + REPORT_WITHIN);
        self.unreported.push(UnreportedRemoval { id, link, by });
    }

    pub(super) fn is_unreported(&self, id: &LinkId) -> bool {
        self.unreported.iter().any(|left| left.id == *id)
    }

    /// Tells of links that are gone for so long that nobody else will.
    pub(super) async fn report_overdue_removals(&mut self) {
        let now = Instant::now();
        self.own_reports.retain(|_, at| now < *at + OWN_ECHO_WITHIN);
        let over = self.unreported.partition_point(|left| left.by <= now);
        let over = self.unreported.drain(..over);
        let over = over.map(|left| (left.id, left.link)).collect();
        self.take_away(over).await;
    }

    /// Takes away first what has left between the ends of links that come: a process of 1.9 knows all
    /// links of two ends for one, and would forget those that have come.
    pub(super) async fn take_displaced(&mut self, coming: &[&LinkId]) {
        if self.unreported.is_empty() || self.generation == Generation::Ours {
            return;
        }
        let takes_place = |id: &LinkId, left: &LinkId| {
            id != left && id.0.source == left.0.source && id.1 == left.1
        };
        let is_displaced =
            |left: &UnreportedRemoval| coming.iter().any(|&id| takes_place(id, &left.id));
        let unreported = std::mem::take(&mut self.unreported).into_iter();
        let (displaced, unreported): (Vec<_>, Vec<_>) = unreported.partition(is_displaced);
        self.unreported = unreported;
        let displaced = displaced.into_iter().map(|left| (left.id, left.link));
        self.take_away(displaced.collect()).await;
    }

    /// Has the process forget links that are gone. All of its id are told, so that somebody also lets go
    /// of what is kept for the link: our hosts tell theirs again what was put meanwhile. Those of 1.9 do
    /// not, so their processes are told nothing where they are not alone.
    pub(super) async fn take_away(&mut self, links: Vec<(LinkId, Link)>) {
        if links.is_empty() {
            return;
        }
        // One of the old generation is itself among those that do not say whose they are.
        let least = match self.generation {
            Generation::Old => 2,
            Generation::Unknown | Generation::Ours => 1,
        };
        let is_shared = self.at_least_answer(least, Respondents::Of19).await;
        let links = match self.generation {
            Generation::Ours => self.put_off_returned(links),
            Generation::Unknown | Generation::Old => links,
        };
        for (id, _) in &links {
            // From now on it may be lost.
            self.note(id.clone());
        }
        if self.is_away() {
            // All is told again when the host is back.
            return;
        }
        match (is_shared, self.generation) {
            (false, _) => {
                for (_, link) in &links {
                    self.tell_removed(link).await;
                }
            }
            // It does without the link, and leaves what is kept for it to others.
            (true, Generation::Ours) => {
                for (_, link) in &links {
                    self.tell_withdrawn(link).await;
                }
            }
            // If it was the process that has answered, it is told when it is heard.
            (true, Generation::Unknown) => {}
            (true, Generation::Old) => tracing::warn!(
                provider = self.id.as_str(),
                links = links.len(),
                "a provider may go on with links that are gone until it is started again: it is of the \
                 1.9 generation, and other processes with its id run"
            ),
        }
    }

    /// Puts off those that were put again since the last comparison: a process of ours takes them as
    /// changed ones. One of which it may not be told is taken away after that all the same.
    fn put_off_returned(&mut self, links: Vec<(LinkId, Link)>) -> Vec<(LinkId, Link)> {
        let there = self.deps.links.of(&self.id);
        let there: HashSet<LinkId> = there.iter().filter_map(id_of).collect();
        let has_returned =
            |(id, _): &(LinkId, Link)| there.contains(id) && !self.tracked.contains_key(id);
        let (returned, gone): (Vec<_>, Vec<_>) = links.into_iter().partition(has_returned);
        let by = Instant::now() + REPORT_WITHIN;
        let returned = returned.into_iter();
        let returned = returned.map(|(id, link)| UnreportedRemoval { id, link, by });
        self.unreported.extend(returned);
        gone
    }

    /// Has a process of the old generation forget links of which it is told anew, since it would
    /// ignore that otherwise. Where others have its id they would forget theirs as well, and their
    /// hosts would not tell them again: such a link stays as it is until the process is started
    /// anew, as in 1.9.
    pub(super) async fn remove_before_retelling(&mut self, links: &[&Link]) {
        if links.is_empty() || self.generation != Generation::Old {
            return;
        }
        if self.at_least_answer(2, Respondents::All).await {
            tracing::warn!(
                provider = self.id.as_str(),
                links = links.len(),
                "links of a provider have changed, which it hears of when it is started again: it is \
                 of the 1.9 generation, and other processes with its id run"
            );
            return;
        }
        for link in links {
            self.tell_removed(link).await;
        }
    }

    /// Has the process do without links that it may no longer have. One of 1.9 cannot be told so without
    /// all others of its id: where there are some it has to end, and the next is not given them.
    pub(super) async fn withdraw(&mut self, links: Vec<(LinkId, Link)>) {
        if links.is_empty() {
            return;
        }
        for (id, _) in &links {
            self.note(id.clone());
        }
        if self.generation != Generation::Old {
            for (_, link) in &links {
                self.tell_withdrawn(link).await;
            }
        }
        match self.generation {
            Generation::Ours => return,
            Generation::Unknown => {
                // Where somebody answers, it is told once it is known of which generation it is.
                if self.at_least_answer(1, Respondents::All).await {
                    return;
                }
            }
            Generation::Old => {
                if self.at_least_answer(2, Respondents::All).await {
                    self.has_to_end = true;
                    return;
                }
            }
        }
        if self.is_away() {
            // It is told when the host is back.
            return;
        }
        for (_, link) in &links {
            self.tell_removed(link).await;
        }
    }

    /// Whether the process would go on with a link that it may no longer have.
    pub(crate) fn has_to_end(&self) -> bool {
        self.has_to_end
    }

    /// Whether at least so many processes with the id of the provider answer.
    async fn at_least_answer(&self, least: usize, respondents: Respondents) -> bool {
        let (health, within) = (self.subjects.health(), self.deps.rpc_timeout);
        at_least_answer(&self.deps.nats, &health, within, least, respondents).await
    }

    /// Waits until what was told before cannot overtake what is told next.
    async fn apart(&self) {
        if let Some(at) = self.told_at {
            sleep_until(at + APART).await;
        }
    }

    /// Tells all processes of the provider, on whichever host, that a link is gone.
    async fn tell_removed(&mut self, link: &Link) {
        self.apart().await;
        let removal = ResolvedLink::removal(link);
        publish(&self.deps.nats, &self.subjects.link_delete(), &removal).await;
        let now = Instant::now();
        self.removed_at = Some(now);
        self.own_reports.extend(named(&removal).map(|id| (id, now)));
    }

    /// Tells a process of ours, and no other, to do without a link.
    async fn tell_withdrawn(&mut self, link: &Link) {
        self.apart().await;
        let removal = ResolvedLink::removal(link);
        publish(&self.deps.nats, &self.delete, &removal).await;
        self.removed_at = Some(Instant::now());
    }
}
