//! Blobs.

use crate::bindings::wasi::blobstore::blobstore;
use crate::bindings::wasi::blobstore::container::Container;
use crate::bindings::wasi::blobstore::types::{IncomingValue, ObjectId, OutgoingValue};
use crate::{Done, done, told};

pub(crate) fn run(what: &str, names: &[&str]) -> Option<Done> {
    Some(match (what, names) {
        ("create-container", [container]) => {
            blobstore::create_container(container).map(|_| String::new())
        }
        ("clear-container", [container]) => blobstore::get_container(container)
            .and_then(|container| container.clear())
            .map(done),
        ("list-objects", [container]) => {
            blobstore::get_container(container).and_then(|container| list(&container))
        }
        ("write", [container, object]) => {
            blobstore::get_container(container).and_then(|container| write(&container, object))
        }
        ("read", [container, object]) => {
            blobstore::get_container(container).and_then(|container| read(&container, object))
        }
        ("copy", [from, object, to, copy]) => {
            let id = |container: &str, object: &str| ObjectId {
                container: container.to_owned(),
                object: object.to_owned(),
            };
            blobstore::copy_object(&id(from, object), &id(to, copy)).map(done)
        }
        _ => return None,
    })
}

fn write(container: &Container, object: &str) -> Done {
    let value = OutgoingValue::new_outgoing_value();
    let body = value.outgoing_value_write_body();
    let body = body.map_err(|()| "the value has no body".to_owned())?;
    container.write_data(object, &value)?;
    let written = body.blocking_write_and_flush(b"value").map_err(told);
    drop(body);
    // What stands in the way of the upload is told at its end.
    OutgoingValue::finish(value)?;
    written.map(done)
}

fn read(container: &Container, object: &str) -> Done {
    let value = container.get_data(object, 0, u64::MAX)?;
    let data = IncomingValue::incoming_value_consume_sync(value)?;
    Ok(String::from_utf8_lossy(&data).into())
}

fn list(container: &Container) -> Done {
    let names = container.list_objects()?;
    let (mut names, _) = names.read_stream_object_names(10_000)?;
    names.sort();
    Ok(names.join(","))
}
