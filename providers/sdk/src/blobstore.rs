//! Serving `wrpc:blobstore`, in the versions 0.2.0 and 0.1.0: a blob provider is a [`Blobs`] for
//! each link.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use lattice_provider_sdk::{Backends, ProviderLink, Session, StartError};
//! # use lattice_provider_sdk::blobstore::{self, Blobs};
//! # async fn demo<B: Blobs>(session: Session, link: ProviderLink, store: B) -> Result<(), StartError> {
//! let backends = Arc::new(Backends::new());
//! blobstore::serve(&session, Arc::clone(&backends)).await?; // once, in `Provider::start`
//! backends.put(&link, Arc::new(store)); // for each link that is put
//! backends.delete(&link); // for each that is deleted
//! # Ok(()) }
//! ```
//!
//! # Streams
//!
//! Data pass through in pieces, each way with back-pressure: a backend is asked for the next piece
//! when the reader has room for it, and a writer is held back while the backend takes none. What an
//! object takes of memory does not depend on its size.
//!
//! The deadline of a call bounds how long it may take until its answer begins. From then on a stream
//! may take as long as it moves: it breaks off when nothing has moved for the `stream_idle_ms` of
//! its link, when its caller gives up, and when the caller's process is gone. So a large
//! object needs no large deadline; a component that streams one needs one for itself, since its
//! streams end with it. `write-container-data` of 0.1.0 answers after its stream, and a caller of
//! the 1.9 lattice tells no deadline; it is held to the same idle limit.
//!
//! What fails after an answer has begun is told by the future of 0.2.0. Version 0.1.0 has no such
//! thing: its stream breaks off, which a 1.9 caller sees as a stream that ends early.
//!
//! # What every backend does alike
//!
//! - Creating a container that is there, and deleting one that is not, succeeds.
//! - Deleting an object that is not there succeeds, asking whether it is there is `false`.
//! - Reading takes both ends of the range into it; an end past the last byte means the last byte, a
//!   start past it gives no bytes, and a start after the end is refused.
//! - An object appears, or replaces an older one, as a whole when its data have come to their end.
//!   Data that break off leave no trace.
//! - Copying and moving replace what is at the destination; copying an object onto itself does
//!   nothing.
//! - A name that the backend forbids is refused with the rule that it breaks.
//!
//! # Values of a link
//!
//! | value | default | meaning |
//! |---|---|---|
//! | `alias_NAME` | | the container of the backend that components call `NAME` |
//! | `container_prefix` | | what the names of all other containers begin with in the backend, which components do not see |
//! | `max_object_bytes` | none | the largest object that is written |
//! | `stream_idle_ms` | 30000 | how long a stream may stand still |
//!
//! # Features
//!
//! What backends tell with [`Provider::describe`](crate::Provider::describe), and links may require:
//!
//! | feature | values |
//! |---|---|
//! | `ranges` | `native`: only what is asked for is read from the backend; `skip`: what comes before it is read too |
//! | `copy` | `native`: the backend copies; `stream`: the data pass through the provider |
//! | `move` | `atomic`, or `copy-delete` |
//! | `consistency` | see [`vocabulary`](crate::vocabulary) |
//! | `ttl` | `container`: all objects of a container go after the same time, where it has one; `none` |
//! | `cas` | `none`: the interface has no such write |
//! | `paging` | `offset`: a listing leaves out so many names, and gives so many |
//! | `created-at` | `containers-and-objects`, `objects`, or `containers`: what has a true time |
//! | `order` | `name`: by the bytes of the names; `written`: by when they were written; `none` |
//! | `durable` | `yes`: objects outlive the provider; `none` |
//! | `max-object-bytes` | the largest object |

mod backend;
mod chunks;
mod error;
mod request;
mod room;
mod serve;
mod settings;
mod span;
mod stream;
mod upload;

pub use backend::{Blob, Blobs, ContainerInfo, Data, Names, ObjectId, ObjectInfo, seconds};
pub use error::BlobError;
pub use room::{PartRoom, PartRoomTaken};
pub use serve::{MAX_NAME, serve};
pub use settings::BlobSettings;
pub use span::Span;
pub use upload::{HeldPart, Upload};
