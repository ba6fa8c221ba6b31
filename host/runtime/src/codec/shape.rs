//! The shape of a parameter or result list: enough to tell when its bytes are complete.

use std::sync::Arc;

use bytes::Bytes;
use lattice_codec::{DecodeError, Reader};

use super::plan::Plan;
use super::{CodecError, skip};

/// The types of a parameter or result list.
///
/// Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Shape(Arc<[Plan]>);

impl Shape {
    pub(crate) fn new(plans: impl Into<Arc<[Plan]>>) -> Self {
        Self(plans.into())
    }

    pub(crate) fn plans(&self) -> &[Plan] {
        &self.0
    }

    /// Whether the list has no values, so that its encoding is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether `bytes` hold the whole list.
    ///
    /// Returns how many bytes the list takes, or `None` when more are needed. Nothing is
    /// allocated, whatever the bytes claim.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when no continuation of `bytes` can be valid.
    pub fn complete(&self, bytes: &Bytes) -> Result<Option<usize>, CodecError> {
        let mut reader = Reader::new(bytes.clone());
        let mut parts = super::MAX_PARTS;
        for plan in self.plans() {
            match skip::skip::<false>(plan, &mut reader, &mut parts) {
                Ok(()) => {}
                Err(CodecError::Decode(DecodeError::Incomplete { .. })) => return Ok(None),
                Err(other) => return Err(other),
            }
        }
        Ok(Some(reader.position()))
    }
}
