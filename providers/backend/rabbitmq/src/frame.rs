//! What fits into a frame.

use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Connection};

/// Whether properties that `more` bytes may come to fit into one frame of a connection. The server gives up
/// the whole connection over others, and the client may stand still with them.
#[must_use]
pub fn fits_frame(connection: &Connection, properties: &BasicProperties, more: usize) -> bool {
    let limit = connection.configuration().frame_max();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    frame_size(properties).saturating_add(more) <= limit
}

/// How many bytes the frame has at most that properties go in.
#[must_use]
pub fn frame_size(properties: &BasicProperties) -> usize {
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    let size = |text: &Option<ShortString>| text.as_ref().map_or(0, |text| 1 + text.as_str().len());
    let texts: usize = texts.into_iter().map(size).sum();
    // The frame itself; its class, the size of the body, which properties there are; those of a fixed size.
    let fixed = 8 + 14 + 10;
    fixed + texts + properties.headers().as_ref().map_or(0, size_of_table)
}

fn size_of_table(table: &FieldTable) -> usize {
    let fields = table.inner().iter();
    let fields = fields.map(|(name, value)| 1 + name.as_str().len() + size_of_value(value));
    4 + fields.sum::<usize>()
}

/// With its type.
fn size_of_value(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldArray(values) => {
            4 + values.as_slice().iter().map(size_of_value).sum::<usize>()
        }
        AMQPValue::FieldTable(table) => size_of_table(table),
        // Numbers, the largest of which have so many.
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_room_for_what_is_in_it() {
        let empty = frame_size(&BasicProperties::default());
        let mut headers = FieldTable::default();
        headers.insert("name".into(), AMQPValue::LongString("value".into()));
        headers.insert("n".into(), AMQPValue::LongLongInt(7));
        let properties = BasicProperties::default()
            .with_message_id("id".into())
            .with_headers(headers);
        // The id; the table with its size, and two headers with the type of their value.
        let expected = 3 + 4 + (5 + 1 + 4 + 5) + (2 + 1 + 8);
        assert_eq!(frame_size(&properties), empty + expected);
    }
}
