//! Calls that leave the component: which link they take and how long they may last.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use lattice_codec::Path;
use lattice_core::values::Plain;
use tokio::time::timeout_at;

use crate::limits::Meter;
use crate::{
    ByteStream, CallContext, ImportTarget, Invoke, InvokeError, Shape, StreamingReply, Value,
};

/// The link name that is used unless the guest chose another.
const DEFAULT_LINK: &str = "default";

/// For how many interfaces a guest may choose a link within one call.
const MAX_LINKS: usize = 1024;

/// A function that an import goes to, apart from the link name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) lookup: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) function: &'a str,
    pub(crate) results: &'a Shape,
    /// Whether the host asks for itself; see [`ImportTarget::by_host`].
    pub(crate) by_host: bool,
    /// Whether another form of the call was tried before; see [`ImportTarget::again`].
    pub(crate) again: bool,
}

/// The way out of one instance. Link names that the guest chooses count for this instance only.
#[derive(Clone)]
pub(crate) struct Outbound {
    invoke: Arc<dyn Invoke>,
    cx: Arc<CallContext>,
    meter: Arc<Meter>,
    links: HashMap<String, Arc<str>>,
    /// How many bodies the guest has begun.
    bodies: usize,
}

/// A value came that is not of the type that goes with the function.
fn unexpected() -> InvokeError {
    InvokeError::Transport {
        what: "a value of another type than the function's came back".to_owned(),
        source: None,
    }
}

/// An answer that was handed over.
fn plain<R: Plain>(answer: Value) -> Result<R, InvokeError> {
    let answer = answer.downcast::<R::Plain>();
    answer
        .map(|answer| R::from_plain(*answer))
        .map_err(|_| unexpected())
}

impl Outbound {
    pub(crate) fn new(invoke: Arc<dyn Invoke>, cx: CallContext, meter: &Arc<Meter>) -> Self {
        Self {
            invoke,
            cx: Arc::new(cx),
            meter: Arc::clone(meter),
            links: HashMap::new(),
            bodies: 0,
        }
    }

    pub(crate) fn invoke(&self) -> &Arc<dyn Invoke> {
        &self.invoke
    }

    pub(crate) fn context(&self) -> &Arc<CallContext> {
        &self.cx
    }

    /// The same way out, with the link for one interface: what outlives a function of the guest is not
    /// to keep all that it has chosen.
    pub(crate) fn only(&self, lookup: &str) -> Self {
        let chosen = self.links.get_key_value(lookup);
        let links = chosen.map(|(lookup, name)| (lookup.clone(), Arc::clone(name)));
        Self {
            invoke: Arc::clone(&self.invoke),
            cx: Arc::clone(&self.cx),
            meter: Arc::clone(&self.meter),
            links: links.into_iter().collect(),
            bodies: self.bodies,
        }
    }

    /// Counts one more body of HTTP that the guest writes; returns how many there were in this call.
    pub(crate) fn count_body(&mut self) -> usize {
        self.bodies = self.bodies.saturating_add(1);
        self.bodies
    }

    /// Whether a guest may choose links for these interfaces as well.
    pub(crate) fn has_room_for(&self, lookups: &[String]) -> bool {
        let is_new = |lookup: &&String| !self.links.contains_key(*lookup);
        self.links.len() + lookups.iter().filter(is_new).count() <= MAX_LINKS
    }

    /// Chooses the link for an interface for the rest of this call.
    pub(crate) fn set_link(&mut self, lookup: String, name: Arc<str>) {
        self.links.insert(lookup, name);
    }

    /// The link that was chosen for an interface, if one was.
    pub(crate) fn chosen(&self, lookup: &str) -> Option<&str> {
        self.links.get(lookup).map(|name| &**name)
    }

    pub(crate) fn link_name(&self, lookup: &str) -> &str {
        self.chosen(lookup).unwrap_or(DEFAULT_LINK)
    }

    fn target<'a>(&'a self, target: Target<'a>) -> ImportTarget<'a> {
        ImportTarget {
            lookup: target.lookup,
            link_name: self.link_name(target.lookup),
            instance: target.instance,
            function: target.function,
            results: target.results,
            by_host: target.by_host,
            again: target.again,
        }
    }

    pub(crate) async fn call(
        &self,
        target: Target<'_>,
        params: Bytes,
    ) -> Result<Bytes, InvokeError> {
        let _away = self.meter.away();
        let call = self.invoke.call(&self.cx, self.target(target), params);
        timeout_at(self.cx.deadline, call)
            .await
            .map_err(|_| InvokeError::Deadline)?
    }

    /// Calls a function with values as they are, where that is possible; gives the parameters back
    /// where it is not. `R` is what the function returns.
    pub(crate) async fn call_plain<P: Plain, R: Plain>(
        &self,
        target: Target<'_>,
        params: P,
    ) -> Result<Result<R, InvokeError>, P> {
        let target = self.target(target);
        let of = TypeId::of::<P::Plain>();
        if !self.invoke.takes_value(&self.cx, target, of) {
            return Err(params);
        }
        let _away = self.meter.away();
        let params = Box::new(params.into_plain());
        let call = self.invoke.call_value(&self.cx, target, params);
        match timeout_at(self.cx.deadline, call).await {
            Ok(Ok(answer)) => Ok(answer.and_then(plain::<R>)),
            Ok(Err(params)) => match params.downcast::<P::Plain>() {
                Ok(params) => Err(P::from_plain(*params)),
                Err(_) => Ok(Err(unexpected())),
            },
            Err(_) => Ok(Err(InvokeError::Deadline)),
        }
    }

    pub(crate) async fn call_streaming(
        &self,
        target: Target<'_>,
        params: Bytes,
        streams: Vec<(Path, ByteStream)>,
        results: &[Path],
    ) -> Result<StreamingReply, InvokeError> {
        let _away = self.meter.away();
        let target = self.target(target);
        let call = self
            .invoke
            .call_streaming(&self.cx, target, params, streams, results);
        timeout_at(self.cx.deadline, call)
            .await
            .map_err(|_| InvokeError::Deadline)?
    }
}
