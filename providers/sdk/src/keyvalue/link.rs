//! What links to key-value providers have in common.

use std::time::Duration;

use crate::error::LinkError;
use crate::link::ProviderLink;
use crate::settings::{InvalidSetting, Settings};

/// The longest time to live in seconds: a hundred years. Some stores refuse a longer one.
pub(super) const LONGEST: u64 = 100 * 365 * 24 * 3600;

/// Refuses a link for another capability.
///
/// # Errors
///
/// [`LinkError::Invalid`] says what `provider` serves.
pub fn accept(provider: &str, link: &ProviderLink) -> Result<(), LinkError> {
    if link.is_for("wasi", "keyvalue") || link.is_for("lattice", "keyvalue") {
        return Ok(());
    }
    Err(LinkError::invalid(format!(
        "{provider} serves wasi:keyvalue only"
    )))
}

/// After which time keys that are set through a link are deleted by themselves: its `ttl_seconds`.
///
/// # Errors
///
/// [`InvalidSetting`] names the value when it is no number of seconds.
pub fn lifetime(settings: &Settings) -> Result<Option<Duration>, InvalidSetting> {
    let seconds = settings.number("ttl_seconds", 0, 0..=LONGEST)?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_means_for_ever() {
        let of = |text| lifetime(&Settings::from_texts([("TTL_SECONDS", text)], []));
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("0"), Ok(None));
        assert_eq!(of("90"), Ok(Some(Duration::from_secs(90))));
        assert!(of("soon").is_err());
        assert!(of("-1").is_err());
    }
}
