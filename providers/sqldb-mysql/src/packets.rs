//! How much the server takes at once.
//!
//! It closes the connection on whoever sends it more than its `max_allowed_packet`, which would look
//! as if it had gone away. So what is too long is not sent.

use lattice_provider_sdk::sql::SqlError;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};

/// The longest part that the protocol sends in one piece.
const LONGEST_PIECE: usize = 0xff_ff_ff;
/// What stands before the values of a statement.
const HEAD: usize = 16;
/// What stands before a piece of a value that goes by itself.
const HEAD_OF_PIECE: usize = 7;

/// What the server behind a connection takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packets {
    most: usize,
}

/// What the server says that it takes, and what the link says of that.
pub(crate) async fn most_of(connection: &mut Conn) -> mysql_async::Result<usize> {
    let asked = "SELECT @@max_allowed_packet";
    let row: Option<Row> = connection.query_first(asked).await?;
    let server = row.and_then(|row| row.get_opt::<usize, usize>(0)?.ok());
    let own = connection.opts().max_allowed_packet();
    // Who says nothing is asked for everything.
    Ok(server.unwrap_or(usize::MAX).min(own.unwrap_or(usize::MAX)))
}

impl Packets {
    pub(crate) fn up_to(most: usize) -> Self {
        Self { most }
    }

    /// Refuses what is too long.
    pub(crate) fn check(self, text: &str, values: &[Value]) -> Result<(), SqlError> {
        if text.len() + 1 >= self.most {
            return Err(self.too_long("the statement", text.len()));
        }
        let each = values.iter().map(|value| length(value) + 3);
        let all = each.fold(HEAD, usize::saturating_add);
        if all < self.most.min(LONGEST_PIECE) {
            return Ok(());
        }
        if self.most <= LONGEST_PIECE {
            return Err(self.too_long("what the statement takes", all));
        }
        // The client sends each text by itself then, and a long one in pieces.
        for (at, value) in values.iter().enumerate() {
            let length = length(value);
            let piece = length.min(LONGEST_PIECE) + HEAD_OF_PIECE;
            if length >= self.most || piece >= self.most {
                let what = format!("the value {} of the statement", at + 1);
                return Err(self.too_long(&what, length));
            }
        }
        Ok(())
    }

    fn too_long(self, what: &str, length: usize) -> SqlError {
        SqlError::invalid(format!(
            "{what} would be {length} bytes, and the server takes fewer than {} at once; send less, or have its `max_allowed_packet` set higher",
            self.most
        ))
    }
}

/// How long a value is on its way.
fn length(value: &Value) -> usize {
    match value {
        // With its own length before it.
        Value::Bytes(bytes) => bytes.len() + 9,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn bytes(length: usize) -> Value {
        Value::Bytes(vec![b'x'; length])
    }

    fn is_refused(most: usize, text: &str, values: &[Value]) -> bool {
        let done = Packets::up_to(most).check(text, values);
        matches!(done, Err(SqlError::InvalidParameter(why)) if why.contains("max_allowed_packet"))
    }

    #[test]
    fn what_a_server_would_hang_up_on_is_not_sent() {
        assert!(!is_refused(MIB, "SELECT ?", &[bytes(MIB - 100)]));
        assert!(is_refused(MIB, "SELECT ?", &[bytes(MIB)]));
        let half = || bytes(MIB / 2);
        assert!(is_refused(MIB, "SELECT ?, ?", &[half(), half()]));
        assert!(is_refused(MIB, &"x".repeat(MIB), &[]));
        // With the limit that servers usually have.
        assert!(is_refused(16 * MIB, "SELECT ?", &[bytes(16 * MIB)]));
        assert!(!is_refused(16 * MIB, "SELECT ?", &[bytes(15 * MIB)]));
    }

    #[test]
    fn long_values_that_go_by_themselves_are_each_looked_at() {
        let nine = || bytes(9 * MIB);
        assert!(!is_refused(16 * MIB, "SELECT ?, ?", &[nine(), nine()]));
        assert!(!is_refused(64 * MIB, "SELECT ?", &[bytes(40 * MIB)]));
        assert!(is_refused(32 * MIB, "SELECT ?", &[bytes(40 * MIB)]));
    }

    #[test]
    fn nothing_is_refused_where_nothing_is_known() {
        assert!(!is_refused(usize::MAX, "SELECT ?", &[bytes(40 * MIB)]));
    }
}
