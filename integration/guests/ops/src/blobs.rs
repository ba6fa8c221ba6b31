//! Blobs.

use crate::bindings::wasi::blobstore::blobstore;
use crate::bindings::wasi::blobstore::container::Container;
use crate::bindings::wasi::blobstore::types::{IncomingValue, OutgoingValue};
use crate::bindings::wasi::io::streams::OutputStream;
use crate::{Amount, Done, told};

const CONTAINER: &str = "ops";

fn container() -> Result<Container, String> {
    blobstore::create_container(CONTAINER)
}

pub(crate) fn write(object: &str, amount: Amount) -> Done {
    let (container, data) = (container()?, amount.bytes());
    amount.each(|_| {
        let value = OutgoingValue::new_outgoing_value();
        let body = value.outgoing_value_write_body();
        let body = body.map_err(|()| "the value has no body".to_owned())?;
        container.write_data(object, &value)?;
        put(&body, &data)?;
        drop(body);
        OutgoingValue::finish(value)
    })
}

/// Writes all bytes, waiting for room.
fn put(stream: &OutputStream, mut data: &[u8]) -> Done {
    while !data.is_empty() {
        let room = stream.check_write().map_err(told)?;
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = data.split_at(data.len().min(room as usize));
        stream.write(now).map_err(told)?;
        data = later;
    }
    Ok(())
}

pub(crate) fn read(object: &str, amount: Amount) -> Done {
    let container = container()?;
    amount.each(|_| {
        let value = container.get_data(object, 0, u64::MAX)?;
        let data = IncomingValue::incoming_value_consume_sync(value)?;
        match data.len() == amount.size as usize {
            true => Ok(()),
            false => Err(format!("`{object}` has {} bytes", data.len())),
        }
    })
}
