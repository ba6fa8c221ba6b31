//! The functions of both versions in front of the backends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_codec::Path;
use lattice_rpc::{CallError, Context, IncomingCall, Params, Responder, ServeOptions};

use super::backend::{Blobs, Names, ObjectId};
use super::chunks::Chunks;
use super::error::BlobError;
use super::request::{FUNCTIONS, Plain, Read, Request, Said, WRITE, encode};
use super::settings::BlobSettings;
use super::span::Span;
use super::stream::{Answer, Sent, outcome};
use super::upload::Upload;
use crate::backends::Backends;
use crate::complaint;
use crate::error::ServeError;
use crate::session::Session;

/// The longest name of a container or an object, in bytes.
pub const MAX_NAME: usize = 1024;

/// How long a write may take whose caller tells no deadline and is answered after the data. What
/// bounds it is that it has to move.
const LONGEST_WRITE: Duration = Duration::from_secs(24 * 3600);

/// A version of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// `@0.1.0`.
    First,
    /// `@0.2.0`.
    Second,
}

impl Version {
    fn instance(self) -> &'static str {
        match self {
            Self::First => "wrpc:blobstore/blobstore@0.1.0",
            Self::Second => "wrpc:blobstore/blobstore@0.2.0",
        }
    }

    /// Whether a stream comes with a future that tells how it ended.
    pub(super) fn tells_outcomes(self) -> bool {
        self == Self::Second
    }

    /// Where the stream of an answer is.
    pub(super) fn stream_path(self) -> Path {
        match self {
            Self::First => Path::new(vec![0]),
            Self::Second => Path::new(vec![0, 0]),
        }
    }

    /// Where the future beside it is.
    pub(super) fn outcome_path(self) -> Path {
        Path::new(vec![0, 1])
    }

    /// An answer whose stream, and future, follow.
    pub(super) fn pending(self) -> Bytes {
        match self {
            Self::First => Bytes::from_static(&[0, 0]),
            Self::Second => Bytes::from_static(&[0, 0, 0]),
        }
    }
}

/// Serves both versions of the interface until the provider stops.
///
/// # Errors
///
/// [`ServeError`] when NATS refuses.
pub async fn serve<B: Blobs>(
    session: &Session,
    backends: Arc<Backends<B>>,
) -> Result<(), ServeError> {
    for version in [Version::Second, Version::First] {
        for (name, read) in FUNCTIONS {
            let function = Function {
                session: session.clone(),
                backends: Arc::clone(&backends),
                version,
                name,
                read,
            };
            let function = Arc::new(function);
            let handler = move |call| Arc::clone(&function).answer(call);
            let options = options(session, version, name);
            session
                .serve_with(options, version.instance(), name, handler)
                .await?;
        }
    }
    Ok(())
}

fn options(session: &Session, version: Version, name: &str) -> ServeOptions {
    let options = session.serve_options();
    if name != WRITE || version.tells_outcomes() {
        return options;
    }
    ServeOptions {
        default_deadline: LONGEST_WRITE,
        longest_deadline: LONGEST_WRITE,
        ..options
    }
}

/// One function of one version.
struct Function<B> {
    session: Session,
    backends: Arc<Backends<B>>,
    version: Version,
    name: &'static str,
    read: Read,
}

impl<B: Blobs> Function<B> {
    async fn answer(self: Arc<Self>, mut call: IncomingCall) {
        let request = match call.params.decode(self.read).await {
            Ok(request) => request,
            Err(error) => {
                complaint::warn("refused a blob call", &call.context, self.name, &error);
                if let Err(error) = call.responder.fail(error.refusal()).await {
                    tracing::debug!(%error, "could not refuse a call");
                }
                return;
            }
        };
        let cx = &call.context;
        let answered = match request {
            Request::Plain(plain) => {
                let said = self.plain(cx, plain).await;
                self.note(cx, said.as_ref().err());
                call.responder.reply(encode(&said)).await
            }
            Request::List { .. } | Request::Read { .. } => {
                self.streamed(cx, request, call.responder).await
            }
            Request::Write { id, inline } => {
                let params = &call.params;
                self.write(cx, params, call.responder, id, inline).await
            }
        };
        if let Err(error) = answered {
            let name = self.name;
            tracing::debug!(function = name, %error, "the answer of a call was not taken");
        }
    }

    /// Logs what went wrong, and tells the lattice of what the caller has no leave for.
    fn note(&self, cx: &Context, error: Option<&BlobError>) {
        let Some(error) = error else { return };
        if error.is_usual() {
            let source = cx.source_id.as_deref().unwrap_or("<unknown>");
            let (link_name, function) = (&*cx.link_name, self.name);
            tracing::debug!(source, link_name, function, %error, "a blob call failed");
        } else {
            complaint::warn("a blob call failed", cx, self.name, error);
        }
        if let BlobError::Denied(why) = error {
            let instance = self.version.instance();
            self.session.denied(cx, instance, self.name, why);
        }
    }

    async fn plain(&self, cx: &Context, plain: Plain) -> Result<Said, BlobError> {
        let blobs = self.backends.of(cx).await?;
        let settings = blobs.settings();
        let done = |()| Said::Done;
        match plain {
            Plain::CreateContainer(name) => {
                let name = container(settings, name)?;
                blobs.create_container(cx, &name).await.map(done)
            }
            Plain::DeleteContainer(name) => {
                let name = container(settings, name)?;
                blobs.delete_container(cx, &name).await.map(done)
            }
            Plain::ClearContainer(name) => {
                let name = container(settings, name)?;
                blobs.clear_container(cx, &name).await.map(done)
            }
            Plain::ContainerExists(name) => {
                let name = container(settings, name)?;
                blobs.container_exists(cx, &name).await.map(Said::Is)
            }
            Plain::ContainerInfo(name) => {
                let name = container(settings, name)?;
                blobs.container_info(cx, &name).await.map(Said::Container)
            }
            Plain::DeleteObjects(name, objects) => {
                let name = container(settings, name)?;
                delete_objects(&*blobs, cx, &name, objects).await.map(done)
            }
            Plain::DeleteObject(id) => {
                let id = object(settings, id)?;
                blobs.delete_object(cx, &id).await.map(done)
            }
            Plain::HasObject(id) => {
                let id = object(settings, id)?;
                blobs.has_object(cx, &id).await.map(Said::Is)
            }
            Plain::ObjectInfo(id) => {
                let id = object(settings, id)?;
                blobs.object_info(cx, &id).await.map(Said::Object)
            }
            Plain::CopyObject(from, to) | Plain::MoveObject(from, to) => {
                let (from, to) = (object(settings, from)?, object(settings, to)?);
                let moves = self.name == "move-object";
                transfer(&*blobs, cx, &from, &to, moves).await.map(done)
            }
        }
    }

    /// Answers with names or data.
    async fn streamed(
        &self,
        cx: &Context,
        request: Request,
        responder: Responder,
    ) -> Result<(), CallError> {
        let blobs = match self.backends.of(cx).await {
            Ok(blobs) => blobs,
            Err(error) => {
                let answer = Answer {
                    responder,
                    version: self.version,
                    idle: BlobSettings::default().stream_idle,
                };
                return answer.refuse(&error.into()).await;
            }
        };
        let answer = Answer {
            responder,
            version: self.version,
            idle: blobs.settings().stream_idle,
        };
        let sent = match open(&*blobs, cx, request).await {
            Ok(Opened::Names(names)) => answer.names(names).await?,
            Ok(Opened::Data(blob)) => answer.data(blob).await?,
            Err(error) => answer.refuse(&error).await.map(|()| Err(error))?,
        };
        self.note(cx, sent.as_ref().err());
        Ok(())
    }

    /// Takes the data of an object. In 0.2.0 the answer comes first and a future tells how it
    /// ended, in 0.1.0 the answer does.
    async fn write(
        &self,
        cx: &Context,
        params: &Params,
        responder: Responder,
        id: ObjectId,
        inline: Bytes,
    ) -> Result<(), CallError> {
        if !self.version.tells_outcomes() {
            let written = self.written(cx, params, id, inline).await;
            self.note(cx, written.as_ref().err());
            return responder.reply(encode(&written.map(|()| Said::Done))).await;
        }
        let pending = Bytes::from_static(&[0, 0]);
        let streams = responder.reply_streaming(pending, &[], true).await?;
        let written = self.written(cx, params, id, inline).await;
        self.note(cx, written.as_ref().err());
        let idle = BlobSettings::default().stream_idle;
        outcome(&streams, Path::new(vec![0]), &written, idle).await
    }

    async fn written(&self, cx: &Context, params: &Params, id: ObjectId, inline: Bytes) -> Sent {
        let blobs = self.backends.of(cx).await?;
        let settings = blobs.settings();
        let id = object(settings, id)?;
        let path = Path::new(vec![1]);
        let data = if !inline.is_empty() || params.has_ended(&path) {
            Upload::ready(inline, settings)
        } else {
            let reader = params.reader(path, None).await;
            let reader = reader.map_err(|error| BlobError::BrokeOff(error.to_string()))?;
            Upload::sent(Chunks::new(reader), settings)
        };
        blobs.write_object(cx, &id, data).await
    }
}

/// What is streamed.
enum Opened {
    Names(Names),
    Data(super::Blob),
}

async fn open<B: Blobs>(blobs: &B, cx: &Context, request: Request) -> Result<Opened, BlobError> {
    let settings = blobs.settings();
    match request {
        Request::Read { id, start, end } => {
            let id = object(settings, id)?;
            let span = Span::new(start, end)?;
            blobs.read_object(cx, &id, span).await.map(Opened::Data)
        }
        Request::List {
            container: name,
            limit,
            offset,
        } => {
            let name = container(settings, name)?;
            let names = blobs.list_objects(cx, &name).await?;
            Ok(Opened::Names(page(names, offset, limit)))
        }
        Request::Plain(_) | Request::Write { .. } => {
            Err(BlobError::Other("there is nothing to stream".to_owned()))
        }
    }
}

/// A page of names.
fn page(names: Names, offset: Option<u64>, limit: Option<u64>) -> Names {
    let (offset, limit) = (offset.unwrap_or(0), limit.unwrap_or(u64::MAX));
    let next = |(mut names, mut skip, mut left): (Names, u64, u64)| async move {
        while left > 0 {
            let mut some = match names.next().await? {
                Ok(some) => some,
                Err(error) => return Some((Err(error), (names, 0, 0))),
            };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(some.len());
            some.drain(..skipped);
            skip -= skipped as u64;
            some.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= some.len() as u64;
            if !some.is_empty() {
                return Some((Ok(some), (names, skip, left)));
            }
        }
        None
    };
    futures::stream::unfold((names, offset, limit), next).boxed()
}

async fn delete_objects<B: Blobs>(
    blobs: &B,
    cx: &Context,
    container: &str,
    objects: Vec<String>,
) -> Result<(), BlobError> {
    let of = objects.len();
    let (good, bad): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .map(|name| check("an object", name))
        .partition(Result::is_ok);
    let good: Vec<_> = good.into_iter().flatten().collect();
    let deleted = blobs.delete_objects(cx, container, good).await;
    let bad: Vec<_> = bad.into_iter().filter_map(Result::err).collect();
    match deleted {
        Err(BlobError::Some { failed, why, .. }) => Err(BlobError::Some {
            failed: failed + bad.len(),
            of,
            why,
        }),
        Err(error) => Err(error),
        Ok(()) => BlobError::of_some(of, bad),
    }
}

async fn transfer<B: Blobs>(
    blobs: &B,
    cx: &Context,
    from: &ObjectId,
    to: &ObjectId,
    moves: bool,
) -> Result<(), BlobError> {
    // On most backends a move is a copy and a deletion, which would leave nothing of it.
    if from == to {
        return blobs.object_info(cx, from).await.map(drop);
    }
    if moves {
        blobs.move_object(cx, from, to).await
    } else {
        blobs.copy_object(cx, from, to).await
    }
}

fn check(of: &'static str, name: String) -> Result<String, BlobError> {
    let rule = match name.len() {
        0 => "it is empty".to_owned(),
        1..=MAX_NAME => return Ok(name),
        len => format!("it has {len} bytes, and {MAX_NAME} are the most"),
    };
    Err(match of {
        "an object" => BlobError::object_name(&name, rule),
        _ => BlobError::container_name(&name, rule),
    })
}

/// The container that a caller means.
fn container(settings: &BlobSettings, name: String) -> Result<String, BlobError> {
    let name = check("a container", name)?;
    Ok(settings.container(&name).into_owned())
}

/// The object that a caller means.
fn object(settings: &BlobSettings, id: ObjectId) -> Result<ObjectId, BlobError> {
    Ok(ObjectId {
        container: container(settings, id.container)?,
        object: check("an object", id.object)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn paged(offset: Option<u64>, limit: Option<u64>) -> Vec<String> {
        let batches: [&[&str]; 4] = [&["a", "b"], &[], &["c", "d", "e"], &["f"]];
        let batches = batches.map(|some| Ok(some.iter().map(|s| (*s).to_owned()).collect()));
        let names = futures::stream::iter(batches).boxed();
        let pages: Vec<_> = page(names, offset, limit).collect().await;
        pages.into_iter().flat_map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn a_page_is_cut_out_of_the_names() {
        assert_eq!(paged(None, None).await.concat(), "abcdef");
        assert_eq!(paged(Some(1), Some(3)).await.concat(), "bcd");
        assert_eq!(paged(Some(2), None).await.concat(), "cdef");
        assert_eq!(paged(Some(5), Some(9)).await.concat(), "f");
        assert!(paged(Some(6), None).await.is_empty());
        assert!(paged(Some(u64::MAX), Some(u64::MAX)).await.is_empty());
        assert!(paged(None, Some(0)).await.is_empty());
    }

    #[test]
    fn names_have_a_length() {
        let settings = BlobSettings::default();
        assert!(container(&settings, "c".repeat(MAX_NAME)).is_ok());
        let long = container(&settings, "c".repeat(MAX_NAME + 1)).unwrap_err();
        assert!(long.to_string().contains("1025 bytes"), "{long}");
        let id = ObjectId {
            container: "c".into(),
            object: String::new(),
        };
        let empty = object(&settings, id).unwrap_err().to_string();
        assert_eq!(empty, "`` cannot be the name of an object: it is empty");
    }
}
