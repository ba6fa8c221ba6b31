//! Texts by name, from single values and from a JSON object, read as what they should be.

use std::collections::BTreeMap;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderName, HeaderValue, Method};
use lattice_core::StringMap;
use serde_json::Value;

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is `{value}`, expected {expected}")]
pub struct InvalidSetting {
    /// The name of the value.
    pub name: String,
    /// What it is.
    pub value: String,
    /// What it should be.
    pub expected: &'static str,
}

impl InvalidSetting {
    pub(super) fn new(name: &str, value: &str, expected: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            value: value.chars().take(120).collect(),
            expected,
        }
    }
}

/// What the JSON object of 1.x says, alone where there is one.
const IN_OBJECT: [&str; 10] = [
    "cache_control",
    "readonly_mode",
    "timeout_ms",
    "tls_cert_file",
    "tls_priv_key_file",
    "cors_allowed_origins",
    "cors_allowed_headers",
    "cors_allowed_methods",
    "cors_exposed_headers",
    "cors_max_age_secs",
];

/// Where to listen.
const PLACE: [&str; 2] = ["address", "port"];

/// The lists of an object `cors`. As in 1.x, one that such an object leaves out stands for any.
const CORS_LISTS: [&str; 4] = [
    "cors_allowed_origins",
    "cors_allowed_headers",
    "cors_allowed_methods",
    "cors_exposed_headers",
];

/// The values of one config, by lower-case name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Values(BTreeMap<String, String>);

impl Values {
    /// All of them. Beside a JSON object, single values that it could have in 1.x do not count, as
    /// they did not there.
    pub(super) fn all(config: &StringMap) -> Result<Self, InvalidSetting> {
        let mut single = Self::single(config);
        let object = Self::in_object(single.text("config_b64"), single.text("config_json"))?;
        let Some(object) = object else {
            return Ok(single);
        };
        // One without an address leaves open where to listen.
        let is_placed = PLACE.iter().any(|name| object.text(name).is_some());
        single.0.retain(|name, _| match &**name {
            name if PLACE.contains(&name) => !is_placed,
            name => !IN_OBJECT.contains(&name),
        });
        Ok(single.over(&object))
    }

    /// Those that stand alone.
    pub(super) fn single(config: &StringMap) -> Self {
        let said = config.iter().filter(|(_, value)| !value.is_empty());
        Self(
            said.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
                .collect(),
        )
    }

    /// These, and of the others those that are not among them.
    pub(super) fn over(mut self, others: &Self) -> Self {
        for (name, value) in &others.0 {
            self.0.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    fn in_object(b64: Option<&str>, json: Option<&str>) -> Result<Option<Self>, InvalidSetting> {
        let mut values = Self::default();
        if let Some(text) = b64 {
            let bytes = STANDARD_NO_PAD
                .decode(text)
                .or_else(|_| STANDARD.decode(text))
                .map_err(|_| InvalidSetting::new("config_b64", text, "base64"))?;
            values.add_json("config_b64", &bytes)?;
        } else if let Some(text) = json {
            values.add_json("config_json", text.as_bytes())?;
        } else {
            return Ok(None);
        }
        Ok(Some(values))
    }

    fn add_json(&mut self, name: &str, text: &[u8]) -> Result<(), InvalidSetting> {
        match serde_json::from_slice(text) {
            Ok(Value::Object(object)) => {
                for (key, value) in object {
                    self.add(&key.to_ascii_lowercase(), value);
                }
                Ok(())
            }
            _ => {
                let shown = String::from_utf8_lossy(text);
                Err(InvalidSetting::new(name, &shown, "a JSON object"))
            }
        }
    }

    fn add(&mut self, name: &str, value: Value) {
        let text = match value {
            Value::Null => return,
            Value::Object(object) => {
                for (key, value) in object {
                    self.add(&format!("{name}_{}", key.to_ascii_lowercase()), value);
                }
                if name == "cors" {
                    for list in CORS_LISTS {
                        self.0.entry(list.into()).or_insert_with(|| "[]".into());
                    }
                }
                return;
            }
            Value::String(text) => text,
            other => other.to_string(),
        };
        if !text.is_empty() {
            self.0.insert(name.to_owned(), text);
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn parsed<T: FromStr>(
        &self,
        name: &str,
        expected: &'static str,
    ) -> Result<Option<T>, InvalidSetting> {
        self.text(name)
            .map(|text| {
                text.trim()
                    .parse()
                    .map_err(|_| InvalidSetting::new(name, text, expected))
            })
            .transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, InvalidSetting> {
        let Some(text) = self.text(name) else {
            return Ok(false);
        };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(InvalidSetting::new(name, text, "`true` or `false`")),
        }
    }

    /// A JSON list of texts; a plain list with commas is taken too.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<String>>, InvalidSetting> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        if text.trim_start().starts_with('[') {
            return serde_json::from_str(text)
                .map(Some)
                .map_err(|_| InvalidSetting::new(name, text, "a JSON list of texts"));
        }
        let items = text.split(',').map(str::trim);
        let items = items.filter(|item| !item.is_empty());
        Ok(Some(items.map(str::to_owned).collect()))
    }

    pub(super) fn header_names(&self, name: &str) -> Result<Option<HeaderValue>, InvalidSetting> {
        self.joined(name, "a list of header names", |item| {
            item.parse::<HeaderName>().is_ok()
        })
    }

    pub(super) fn methods(&self, name: &str) -> Result<Option<HeaderValue>, InvalidSetting> {
        self.joined(name, "a list of methods", |item| {
            item.parse::<Method>().is_ok()
        })
    }

    /// A list as one header value, after each item has been checked; `*` stands for any, as does
    /// an empty list.
    fn joined(
        &self,
        name: &str,
        expected: &'static str,
        check: impl Fn(&str) -> bool,
    ) -> Result<Option<HeaderValue>, InvalidSetting> {
        let Some(items) = self.list(name)? else {
            return Ok(None);
        };
        if items.is_empty() {
            return Ok(Some(HeaderValue::from_static("*")));
        }
        if let Some(bad) = items.iter().find(|item| *item != "*" && !check(item)) {
            return Err(InvalidSetting::new(name, bad, expected));
        }
        let text = items.join(",");
        HeaderValue::from_str(&text)
            .map(Some)
            .map_err(|_| InvalidSetting::new(name, &text, expected))
    }

    pub(super) fn header_value(&self, name: &str) -> Result<Option<HeaderValue>, InvalidSetting> {
        self.text(name)
            .map(|text| {
                HeaderValue::from_str(text)
                    .map_err(|_| InvalidSetting::new(name, text, "a header value"))
            })
            .transpose()
    }
}
