//! What a component offers to be called.

use std::sync::Arc;

use crate::{CodecError, Shape};

/// How an export is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportKind {
    /// `wasi:http/incoming-handler`, served as `wrpc:http/incoming-handler@0.1.0.handle` and
    /// called with [`Component::handle_http`](crate::Component::handle_http).
    Http,
    /// `wasmcloud:messaging/handler@0.2.0.handle-message`, and the `incoming-handler` of packages
    /// whose messages are resources, which is served under the same name for providers of 1.x, and
    /// as `lattice:messaging/handler@0.1.0.handle` for others.
    Messaging,
    /// `wasi:keyvalue/watcher`, served as `wrpc:keyvalue/watcher@0.2.0-draft`.
    KeyvalueWatcher,
    /// Any other function, served under its own name.
    Function,
}

/// One function that a component exports, under the names it has on the wire.
///
/// Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Export(pub(crate) Arc<ExportInner>);

#[derive(Debug)]
pub(crate) struct ExportInner {
    pub(crate) kind: ExportKind,
    pub(crate) instance: String,
    pub(crate) function: String,
    pub(crate) params: Shape,
    /// Position in the component's table of call plans; not used for HTTP.
    pub(crate) index: usize,
}

impl Export {
    /// How it is called.
    pub fn kind(&self) -> ExportKind {
        self.0.kind
    }

    /// The interface on the wire, with version; `None` for a function at the component's root.
    pub fn instance(&self) -> Option<&str> {
        Some(self.0.instance.as_str()).filter(|name| !name.is_empty())
    }

    /// The function on the wire.
    pub fn function(&self) -> &str {
        &self.0.function
    }

    /// Tells whether `bytes` hold all parameters.
    ///
    /// Returns how many bytes the parameters take, or `None` when more are needed. Bytes after
    /// the parameters are not looked at here; [`Component::call`](crate::Component::call)
    /// refuses them. An export of kind [`ExportKind::Http`] has its parameters decoded by the
    /// caller and never reports anything but zero.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when no continuation of `bytes` can be valid.
    pub fn params_complete(&self, bytes: &bytes::Bytes) -> Result<Option<usize>, CodecError> {
        self.0.params.complete(bytes)
    }
}
