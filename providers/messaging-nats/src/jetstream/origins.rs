//! Where the messages of a stream come from.
//!
//! A stream may mirror others or take messages over from them, these from further ones, and each may
//! give them other subjects on the way. By a stream in whose past are subjects of the lattice a component
//! would hear of it.

use std::collections::HashSet;

use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{Context, ErrorCode};

use super::consumer::ConsumerError;
use crate::reach::Reach;

/// How many streams behind one are looked at. More are refused: they may be anything.
pub(super) const MOST: usize = 64;

/// A stream on the way of messages.
struct Origin {
    config: Config,
    /// Whether what comes from it may have other subjects at the end of the way.
    is_renamed: bool,
}

/// Refuses a stream by which a component would hear of the lattice, as far as a consumer with this filter
/// lets it through.
pub(super) async fn check_reach(
    jetstream: &Context,
    stream: &Stream,
    filter: &[String],
    reach: &Reach,
) -> Result<(), ConsumerError> {
    if reach.has_all() {
        return Ok(());
    }
    let head = &stream.cached_info().config;
    let refused = |what| ConsumerError::Reserved {
        stream: head.name.clone(),
        what,
    };
    let mut seen = HashSet::new();
    let mut left = vec![Origin {
        config: head.clone(),
        is_renamed: false,
    }];
    while let Some(origin) = left.pop() {
        if let Some(what) = reserved(&origin, filter, reach) {
            return Err(refused(what));
        }
        for (name, is_renamed) in before(&origin) {
            if !seen.insert((name.clone(), is_renamed)) {
                continue;
            }
            if seen.len() > MOST {
                return Err(ConsumerError::Origins {
                    stream: head.name.clone(),
                });
            }
            let config = config(jetstream, name).await?;
            left.push(Origin { config, is_renamed });
        }
    }
    Ok(())
}

/// What of the lattice is in a stream itself.
fn reserved(origin: &Origin, filter: &[String], reach: &Reach) -> Option<String> {
    let config = &origin.config;
    let is_renamed = origin.is_renamed || config.subject_transform.is_some();
    // A filter goes by the subjects at the end of the way.
    let filter = if is_renamed { &[] } else { filter };
    let subject = reach.reserved_of(&config.subjects, filter).cloned();
    subject.or_else(|| {
        let name = &config.name;
        reach.is_stream_of_lattice(name).then(|| name.clone())
    })
}

/// The streams that a stream has messages of, and whether they have other subjects at the end.
fn before(origin: &Origin) -> Vec<(String, bool)> {
    let config = &origin.config;
    let is_renamed = origin.is_renamed || config.subject_transform.is_some();
    let from = config.sources.iter().flatten().chain(&config.mirror);
    from.filter(|from| from.external.is_none())
        .map(|from| {
            let is_renamed = is_renamed || !from.subject_transforms.is_empty();
            (from.name.clone(), is_renamed)
        })
        .collect()
}

async fn config(jetstream: &Context, name: String) -> Result<Config, ConsumerError> {
    match jetstream.get_stream(&name).await {
        Ok(stream) => Ok(stream.cached_info().config.clone()),
        // What is not there any more brings nothing.
        Err(error) if is_missing(&error) => Ok(Config {
            name,
            ..Config::default()
        }),
        Err(error) => Err(ConsumerError::Stream {
            stream: name,
            source: error.into(),
        }),
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(
        error.kind(),
        GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND
    )
}
