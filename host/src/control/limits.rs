//! How much a command may say.

use lattice_control::ControlError;
use lattice_core::{ComponentId, ErrorCode};
use serde::Serialize;

/// How long each thing that a command says may be in JSON: hosts tell it in every heartbeat, for which
/// NATS has a limit.
const MAX_BYTES: usize = 64 << 10;

/// Refuses what is too long to be told all the time.
pub(super) fn check_told(
    id: &ComponentId,
    what: &str,
    told: &impl Serialize,
) -> Result<(), ControlError> {
    // Texts always encode.
    let bytes = serde_json::to_vec(told).map_or(usize::MAX, |json| json.len());
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let text =
        format!("the {what} of `{id}` have {bytes} bytes, more than the {MAX_BYTES} they may have");
    let hint = "these are short notes and names; keep what is longer in a config";
    Err(ControlError::new(ErrorCode::BadRequest, text).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use lattice_core::StringMap;

    use super::*;

    #[test]
    fn what_is_too_long_for_heartbeats_is_refused_by_name() {
        let id = ComponentId::new("cart").unwrap();
        let annotated = |bytes: usize| {
            let annotations = StringMap::from([("note".to_owned(), "x".repeat(bytes))]);
            check_told(&id, "annotations", &annotations)
        };
        annotated(1000).unwrap();
        let refused = annotated(MAX_BYTES).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest);
        assert!(refused.message.starts_with("the annotations of `cart`"));
        assert!(refused.hint.is_some());
    }
}
