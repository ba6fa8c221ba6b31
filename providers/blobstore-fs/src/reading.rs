//! The data of an object.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_provider_sdk::blobstore::{Blob, BlobError};

use crate::failure::{failed, on_disk};

/// How much is read at once.
const PIECE: u64 = 128 << 10;

/// How many pieces are read ahead.
const AHEAD: usize = 2;

/// Reads a range of a file. What does not last long is read at once; the rest as it is asked for.
/// The file stays what it is: who replaces the object replaces the file.
pub(crate) fn read(file: File, range: Range<u64>) -> Result<Blob, BlobError> {
    let len = range.end - range.start;
    if len <= PIECE {
        let data = piece(&file, range)?;
        let data = futures::stream::once(std::future::ready(Ok(data)));
        return Ok(Blob {
            len,
            data: data.boxed(),
        });
    }
    let file = Arc::new(file);
    let starts = (range.start..range.end).step_by(usize::try_from(PIECE).unwrap_or(usize::MAX));
    let reads = starts.map(move |start| {
        let file = Arc::clone(&file);
        let range = start..(start + PIECE).min(range.end);
        on_disk(move || piece(&file, range))
    });
    Ok(Blob {
        len,
        data: futures::stream::iter(reads).buffered(AHEAD).boxed(),
    })
}

fn piece(file: &File, range: Range<u64>) -> Result<Bytes, BlobError> {
    let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut data = vec![0; len];
    match file.read_exact_at(&mut data, range.start) {
        Ok(()) => Ok(data.into()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let what = "another program has cut the file short meanwhile";
            Err(BlobError::Unavailable(what.to_owned()))
        }
        Err(error) => Err(failed(&error)),
    }
}
