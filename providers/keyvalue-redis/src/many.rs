//! Reading many keys at once.

use std::sync::LazyLock;

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::{KeyValueError, LARGEST_ANSWER};

use crate::connection::Connection;
use crate::script::Script;

/// How many keys are read as a whole: the server does nothing else meanwhile.
const AT_ONCE: usize = 1000;

/// Answers with the values of all keys, or with nothing where they have more bytes together than
/// ARGV[1]: to find that out the server need not send them.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local left = tonumber(ARGV[1])
for _, key in ipairs(KEYS) do
  local size = redis.pcall('STRLEN', key)
  if type(size) == 'number' then
    left = left - size
  end
  if left < 0 then
    return false
  end
end
return redis.call('MGET', unpack(KEYS))
",
    )
});

/// The values of keys as they are stored, in their order.
pub(crate) async fn read(
    connection: &Connection,
    stored: &[String],
) -> Result<Vec<Option<Bytes>>, KeyValueError> {
    let mut values: Vec<Option<Bytes>> = Vec::with_capacity(stored.len());
    let mut left = LARGEST_ANSWER;
    for part in stored.chunks(AT_ONCE) {
        let answer = READ.run(connection, |command| {
            command.arg(part.len()).arg(part).arg(left);
        });
        let answer: Option<Vec<Option<Bytes>>> = answer.await?;
        let part = answer.ok_or_else(KeyValueError::answer_too_large)?;
        let bytes: usize = part.iter().flatten().map(Bytes::len).sum();
        left = left.saturating_sub(bytes);
        values.extend(part);
    }
    Ok(values)
}
