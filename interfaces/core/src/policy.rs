//! What hosts ask a policy service, and what it answers (protocol page, section 7.1).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::StringMap;

/// The version of the exchange, which every request names.
pub const POLICY_VERSION: &str = "v1";

/// What a host asks leave for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PolicyKind {
    /// To run a component.
    #[serde(rename = "startComponent")]
    StartComponent,
    /// To run a provider.
    #[serde(rename = "startProvider")]
    StartProvider,
    /// To let a call of a component through.
    #[serde(rename = "performInvocation")]
    PerformInvocation,
    /// Something this version does not know.
    #[serde(rename = "unknown", other)]
    Unknown,
}

impl PolicyKind {
    /// The kind as it is written on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartComponent => "startComponent",
            Self::StartProvider => "startProvider",
            Self::PerformInvocation => "performInvocation",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The question of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRequest {
    /// A unique id; a later change of the decision names it.
    pub request_id: String,
    /// What is asked for.
    pub kind: PolicyKind,
    /// [`POLICY_VERSION`].
    pub version: String,
    /// Who asks.
    pub host: PolicyHost,
    /// What it is about.
    pub request: PolicySubject,
}

/// The host that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyHost {
    /// Its id.
    pub public_key: String,
    /// Its lattice.
    pub lattice: String,
    /// Its labels.
    #[serde(default)]
    pub labels: StringMap,
}

/// What a question is about. The kinds are told apart by their fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PolicySubject {
    /// A call.
    Invocation(PolicyInvocation),
    /// A component.
    Component(PolicyComponent),
    /// A provider.
    Provider(PolicyProvider),
    /// Something this version does not know.
    Other(Value),
}

/// A component that is to run, or that is called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyComponent {
    /// Its id.
    pub component_id: String,
    /// Its image, as the command named it.
    pub image_ref: String,
    /// How many instances may run at once; 0 where it is called.
    #[serde(default)]
    pub max_instances: u32,
    /// Notes of whoever started it.
    #[serde(default)]
    pub annotations: StringMap,
    /// What its token says; `null` when it has none.
    #[serde(default)]
    pub claims: Option<PolicyClaims>,
}

/// A provider that is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyProvider {
    /// Its id.
    pub provider_id: String,
    /// Its image, as the command named it.
    pub image_ref: String,
    /// Notes of whoever started it.
    #[serde(default)]
    pub annotations: StringMap,
    /// What its token says; `null` when it has none.
    #[serde(default)]
    pub claims: Option<PolicyClaims>,
}

/// A call of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyInvocation {
    /// The interface, such as `wasi:http/incoming-handler@0.2.0`.
    pub interface: String,
    /// The function.
    pub function: String,
    /// The component that is called.
    pub target: PolicyComponent,
}

/// What a token says, as policy services see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyClaims {
    /// The key of the component or provider.
    pub public_key: String,
    /// The account that signed.
    pub issuer: String,
    /// When it was signed: epoch seconds as text.
    pub issued_at: String,
    /// When it expires, in epoch seconds; `null` for never.
    #[serde(default)]
    pub expires_at: Option<u64>,
    /// Whether it has expired.
    #[serde(default)]
    pub expired: bool,
}

/// The answer of a policy service, and the form of a later change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyResponse {
    /// The id of the request.
    pub request_id: String,
    /// Whether the host has leave.
    pub permitted: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(request: &Value) -> PolicyRequest {
        serde_json::from_value(request.clone()).unwrap()
    }

    fn request(kind: &str, about: Value) -> Value {
        json!({
            "requestId": "1", "kind": kind, "version": "v1",
            "host": { "publicKey": "N", "lattice": "default", "labels": { "zone": "a" } },
            "request": about,
        })
    }

    #[test]
    fn every_kind_of_request_is_read_and_written_as_the_page_has_it() {
        let claims = json!({
            "publicKey": "M", "issuer": "A", "issuedAt": "7", "expiresAt": null, "expired": false,
        });
        let component = json!({
            "componentId": "c", "imageRef": "file:///c", "maxInstances": 2,
            "annotations": { "a": "b" }, "claims": claims,
        });
        let provider = json!({
            "providerId": "p", "imageRef": "file:///p", "annotations": {}, "claims": null,
        });
        let call = json!({ "interface": "a:b/c", "function": "d", "target": component });
        for (kind, about) in [
            ("startComponent", component),
            ("startProvider", provider),
            ("performInvocation", call),
            ("unknown", json!({ "new": [1] })),
        ] {
            let value = request(kind, about);
            let read = read(&value);
            assert_eq!(read.kind.as_str(), kind);
            assert_eq!(
                matches!(read.request, PolicySubject::Other(_)),
                kind == "unknown",
                "{read:?}"
            );
            assert_eq!(serde_json::to_value(&read).unwrap(), value);
        }
    }

    #[test]
    fn kinds_of_tomorrow_are_unknown() {
        let kind: PolicyKind = serde_json::from_str("\"stopHost\"").unwrap();
        assert_eq!(kind, PolicyKind::Unknown);
    }

    #[test]
    fn an_answer_without_a_message_has_no_key_for_it() {
        let answer = PolicyResponse {
            request_id: "1".into(),
            ..PolicyResponse::default()
        };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(text, r#"{"requestId":"1","permitted":false}"#);
    }
}
