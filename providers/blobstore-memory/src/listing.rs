//! The names of the objects in a container, in the order of their bytes.

use std::sync::Arc;

use futures::StreamExt as _;
use lattice_provider_sdk::blobstore::Names;

use crate::container::Container;

/// How many names are looked up at once.
const PAGE: usize = 1000;

/// All names, looked up as they are asked for.
pub(crate) fn names(container: Arc<Container>) -> Names {
    let next = |(container, after): (Arc<Container>, Option<String>)| async move {
        let names = container.names(after.as_deref(), PAGE);
        let last = names.last()?.clone();
        Some((Ok(names), (container, Some(last))))
    };
    futures::stream::unfold((container, None), next).boxed()
}
