//! What a call says of itself before it is made.

use std::sync::Arc;

use async_nats::{HeaderMap, Subject};
use lattice_core::{Locality, RoadCounts, TraceContext};
use tokio::time::Instant;

use crate::failed::Caller;
use crate::header::{self, DEFAULT_LINK, Told};

/// What is called, by whom, and until when.
///
/// Cheap to clone: what calls through one link have in common is made once and shared.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub(super) common: Arc<Common>,
    trace: Option<TraceContext>,
    deadline: Instant,
    /// Whether it is no failure that nobody serves the function.
    pub(super) may_be_nowhere: bool,
    /// Whether it is a part of a call that is under way in this process.
    pub(super) is_under_way: bool,
    /// A server with room, which the call goes to over NATS.
    pub(super) place: Option<Box<Subject>>,
}

/// What does not differ from call to call.
#[derive(Debug, Clone)]
pub(super) struct Common {
    subject: Subject,
    source: Option<Arc<str>>,
    link_name: Option<Arc<str>>,
    /// Whether the link in use has the default name, which is not among the headers.
    pub(super) is_default_link: bool,
    link_package: Option<Arc<str>>,
    target: Option<Arc<str>>,
    /// The same as headers, for calls that leave the process.
    headers: HeaderMap,
    pub(super) locality: Locality,
    pub(super) roads: Option<Arc<RoadCounts>>,
    /// Whether a peer of 1.9 is told where its parameters end.
    pub(super) tells_end: bool,
}

impl Common {
    pub(super) fn as_caller(&self, may_be_nowhere: bool) -> Caller<'_> {
        Caller {
            subject: &self.subject,
            source: self.source.as_deref(),
            may_be_nowhere,
        }
    }
}

impl Invocation {
    /// Starts describing a call of the function at `subject` (built by
    /// [`lattice_core::subject::RpcPrefix`]) that has to be done by `deadline`.
    pub fn new(subject: impl Into<Subject>, deadline: Instant) -> Self {
        let common = Common {
            subject: subject.into(),
            source: None,
            link_name: None,
            is_default_link: false,
            link_package: None,
            target: None,
            headers: HeaderMap::new(),
            locality: Locality::default(),
            roads: None,
            tells_end: false,
        };
        Self {
            common: Arc::new(common),
            trace: None,
            deadline,
            may_be_nowhere: false,
            is_under_way: false,
            place: None,
        }
    }

    fn edit(&mut self) -> &mut Common {
        Arc::make_mut(&mut self.common)
    }

    /// Says who calls.
    #[must_use]
    pub fn source(mut self, id: &str) -> Self {
        let common = self.edit();
        common.source = Some(id.into());
        header::put(&mut common.headers, header::SOURCE_ID, id);
        self
    }

    /// Says which link is used. Peers of our kind assume the default name; others are told of it, as
    /// hosts of the 1.9 lattice tell it.
    #[must_use]
    pub fn link_name(mut self, name: &str) -> Self {
        let common = self.edit();
        common.is_default_link = name == DEFAULT_LINK;
        if !common.is_default_link {
            common.link_name = Some(name.into());
            header::put(&mut common.headers, header::LINK_NAME, name);
        }
        self
    }

    /// Says which package the link is for, such as `wasi:keyvalue`: where there are several links of
    /// that name, the callee cannot know it otherwise.
    #[must_use]
    pub fn link_package(mut self, package: &str) -> Self {
        let common = self.edit();
        common.link_package = Some(package.into());
        header::put(&mut common.headers, header::LINK_PACKAGE, package);
        self
    }

    /// Says who is called.
    #[must_use]
    pub fn target(mut self, id: &str) -> Self {
        let common = self.edit();
        common.target = Some(id.into());
        header::put(&mut common.headers, header::TARGET_ID, id);
        self
    }

    /// Tells of which function this is a call. One of a resource has a handle among its parameters,
    /// which a host of 1.9 reads to their end, and not to its own.
    #[must_use]
    pub fn of_function(mut self, function: &str) -> Self {
        self.edit().tells_end = is_of_resource(function);
        self
    }

    /// Says that the caller can do without: nobody is told of a failure when nobody serves the function.
    #[must_use]
    pub fn may_be_nowhere(mut self) -> Self {
        self.may_be_nowhere = true;
        self
    }

    /// Says that it is made for a call that is under way in this process, which what stops here lets end:
    /// functions that take no other calls any more still take it, see [`ServeHandle::retire`].
    ///
    /// [`ServeHandle::retire`]: crate::ServeHandle::retire
    #[must_use]
    pub fn under_way(mut self) -> Self {
        self.is_under_way = true;
        self
    }

    /// Adds trace context.
    #[must_use]
    pub fn trace(mut self, trace: Option<&TraceContext>) -> Self {
        self.trace = trace.cloned();
        self
    }

    /// Says which roads the call may take; without it, the nearest that has room.
    #[must_use]
    pub fn locality(mut self, locality: Locality) -> Self {
        self.edit().locality = locality;
        self
    }

    /// Has the road that the call takes counted here.
    #[must_use]
    pub fn roads(mut self, counts: Arc<RoadCounts>) -> Self {
        self.edit().roads = Some(counts);
        self
    }

    /// Sets when the call has to be done, for a description that was made once for many calls.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = deadline;
        self
    }

    /// Has the call go to a server of which it is known that it has room.
    pub(crate) fn sent_to(mut self, place: Subject) -> Self {
        self.place = Some(Box::new(place));
        self
    }

    /// When the call has to be done.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Which roads the call may take.
    pub fn allowed(&self) -> Locality {
        self.common.locality
    }

    /// Who counts the road that the call takes.
    pub fn counts(&self) -> Option<&Arc<RoadCounts>> {
        self.common.roads.as_ref()
    }

    /// What is needed to tell of its failure.
    pub(crate) fn as_caller(&self) -> Caller<'_> {
        self.common.as_caller(self.may_be_nowhere)
    }

    /// Whether it is a part of a call that is under way in this process.
    pub(crate) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Who calls, if that was said.
    pub(crate) fn caller(&self) -> Option<&str> {
        self.common.source.as_deref()
    }

    /// Where the call goes.
    pub fn subject(&self) -> &Subject {
        &self.common.subject
    }

    /// What the callee is told of the call, without the way through headers.
    pub(crate) fn told(&self) -> Told {
        let common = &self.common;
        Told {
            source_id: common.source.clone(),
            link_name: common.link_name.clone(),
            link_package: common.link_package.clone(),
            target_id: common.target.clone(),
            trace: self.trace.clone(),
            terms: None,
            too_long: None,
        }
    }

    /// The headers that every peer reads.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = self.common.headers.clone();
        if let Some(trace) = &self.trace {
            header::write_trace(trace, &mut headers);
        }
        headers
    }
}

/// Whether a function, as it stands on the wire, is one of a resource: `{resource}.{name}`.
fn is_of_resource(function: &str) -> bool {
    function.contains('.')
}
