//! Rules: the first that fits a request decides.

use std::borrow::Cow;
use std::collections::BTreeMap;

use lattice_core::policy::{
    PolicyClaims, PolicyComponent, PolicyRequest, PolicyResponse, PolicySubject,
};
use lattice_core::reference::canonical;
use serde::Deserialize;

use super::pattern::{Pattern, Patterns};

/// Whether something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Allow,
    Deny,
}

/// A file of rules.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// What happens when no rule fits.
    #[serde(default = "deny")]
    default: Verdict,
    #[serde(default, rename = "rule")]
    rules: Vec<Rule>,
}

fn deny() -> Verdict {
    Verdict::Deny
}

/// One rule. Every field that is there has to fit; what a request does not have fits no pattern.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    decision: Verdict,
    name: Option<String>,
    message: Option<String>,
    kind: Option<Patterns>,
    lattice: Option<Patterns>,
    host: Option<Patterns>,
    #[serde(default)]
    labels: BTreeMap<String, Pattern>,
    id: Option<Patterns>,
    image: Option<Patterns>,
    issuer: Option<Patterns>,
    subject: Option<Patterns>,
    signed: Option<bool>,
    expired: Option<bool>,
    #[serde(default)]
    annotations: BTreeMap<String, Pattern>,
    max_instances: Option<u32>,
    interface: Option<Patterns>,
    function: Option<Patterns>,
}

/// What rules say to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) message: Option<String>,
    /// Which rule it was, for people.
    pub(super) by: String,
}

impl Decision {
    pub(super) fn permitted(&self) -> bool {
        self.verdict == Verdict::Allow
    }

    pub(super) fn response(&self, request: &PolicyRequest) -> PolicyResponse {
        PolicyResponse {
            request_id: request.request_id.clone(),
            permitted: self.permitted(),
            message: self.message.clone(),
        }
    }
}

impl Rules {
    /// Takes the text of a file apart.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// What they say to a request.
    pub(super) fn decide(&self, request: &PolicyRequest) -> Decision {
        let about = About::of(request);
        let found = self
            .rules
            .iter()
            .enumerate()
            .find(|(_, rule)| rule.fits(request, &about));
        match found {
            Some((index, rule)) => Decision {
                verdict: rule.decision,
                message: rule.message.clone(),
                by: match &rule.name {
                    Some(name) => format!("rule `{name}`"),
                    None => format!("rule {}", index + 1),
                },
            },
            None => Decision {
                verdict: self.default,
                message: (self.default == Verdict::Deny).then(|| "no rule allows it".to_owned()),
                by: "default".to_owned(),
            },
        }
    }
}

/// What a request is about, whatever its kind.
#[derive(Debug, Default)]
struct About<'a> {
    id: Option<&'a str>,
    /// In its one form, which hosts of before do not tell it in.
    image: Option<Cow<'a, str>>,
    annotations: Option<&'a lattice_core::StringMap>,
    claims: Option<&'a PolicyClaims>,
    max_instances: Option<u32>,
    interface: Option<&'a str>,
    function: Option<&'a str>,
}

impl<'a> About<'a> {
    fn of(request: &'a PolicyRequest) -> Self {
        match &request.request {
            PolicySubject::Component(component) => Self {
                max_instances: Some(component.max_instances),
                ..Self::component(component)
            },
            PolicySubject::Provider(provider) => Self {
                id: Some(&provider.provider_id),
                image: Some(canonical(&provider.image_ref)),
                annotations: Some(&provider.annotations),
                claims: provider.claims.as_ref(),
                ..Self::default()
            },
            PolicySubject::Invocation(call) => Self {
                interface: Some(&call.interface),
                function: Some(&call.function),
                ..Self::component(&call.target)
            },
            PolicySubject::Other(_) => Self::default(),
        }
    }

    fn component(component: &'a PolicyComponent) -> Self {
        Self {
            id: Some(&component.component_id),
            image: Some(canonical(&component.image_ref)),
            annotations: Some(&component.annotations),
            claims: component.claims.as_ref(),
            ..Self::default()
        }
    }
}

impl Rule {
    fn fits(&self, request: &PolicyRequest, about: &About<'_>) -> bool {
        let host = &request.host;
        let claims = about.claims;
        let expired = claims.map(|claims| claims.expired);
        fit(&self.kind, Some(request.kind.as_str()))
            && fit(&self.lattice, Some(&host.lattice))
            && fit(&self.host, Some(&host.public_key))
            && fit_all(&self.labels, Some(&host.labels))
            && fit(&self.id, about.id)
            && fit(&self.image, about.image.as_deref())
            && fit(&self.issuer, claims.map(|claims| claims.issuer.as_str()))
            && fit(
                &self.subject,
                claims.map(|claims| claims.public_key.as_str()),
            )
            && self.signed.is_none_or(|signed| signed == claims.is_some())
            && self.expired.is_none_or(|wanted| expired == Some(wanted))
            && fit_all(&self.annotations, about.annotations)
            && self
                .max_instances
                .is_none_or(|most| about.max_instances.is_some_and(|count| count <= most))
            && fit(&self.interface, about.interface)
            && fit(&self.function, about.function)
    }
}

fn fit(patterns: &Option<Patterns>, text: Option<&str>) -> bool {
    match (patterns, text) {
        (None, _) => true,
        (Some(patterns), Some(text)) => patterns.fit(text),
        (Some(_), None) => false,
    }
}

fn fit_all(patterns: &BTreeMap<String, Pattern>, texts: Option<&lattice_core::StringMap>) -> bool {
    patterns.iter().all(|(key, pattern)| {
        let text = texts.and_then(|texts| texts.get(key));
        text.is_some_and(|text| pattern.fits(text))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn component(id: &str, claims: serde_json::Value) -> PolicyRequest {
        serde_json::from_value(json!({
            "requestId": "1", "kind": "startComponent", "version": "v1",
            "host": { "publicKey": "N1", "lattice": "prod", "labels": { "zone": "a" } },
            "request": {
                "componentId": id, "imageRef": "file:///shop/cart.wasm", "maxInstances": 5,
                "annotations": { "team": "shop" }, "claims": claims,
            },
        }))
        .unwrap()
    }

    fn call(function: &str) -> PolicyRequest {
        let mut request = component("cart", json!(null));
        let PolicySubject::Component(target) = request.request else {
            panic!("a component");
        };
        request.kind = lattice_core::policy::PolicyKind::PerformInvocation;
        request.request = PolicySubject::Invocation(lattice_core::policy::PolicyInvocation {
            interface: "shop:cart/admin@0.1.0".into(),
            function: function.into(),
            target,
        });
        request
    }

    fn by(text: &str, request: &PolicyRequest) -> String {
        let decision = Rules::parse(text).unwrap().decide(request);
        let verdict = if decision.permitted() {
            "allow"
        } else {
            "deny"
        };
        format!("{verdict} by {}", decision.by)
    }

    const RULES: &str = r#"
        default = "deny"
        [[rule]]
        name = "no purge"
        kind = "performInvocation"
        interface = "shop:cart/admin*"
        function = ["purge", "drop-*"]
        decision = "deny"
        message = "carts are not purged"
        [[rule]]
        kind = "performInvocation"
        decision = "allow"
        [[rule]]
        issuer = "ATRUSTED"
        expired = false
        labels = { zone = "a" }
        lattice = ["prod", "test-*"]
        max_instances = 5
        decision = "allow"
        [[rule]]
        id = "probe*"
        signed = false
        annotations = { team = "sh*" }
        decision = "allow"
    "#;

    #[test]
    fn an_image_is_known_however_it_is_written() {
        let rules = r#"
            default = "allow"
            [[rule]]
            image = "file:///shop/*"
            decision = "deny"
        "#;
        for image in [
            "file:///shop/cart.wasm",
            "file:///ok/../shop/cart.wasm",
            "file:///%73hop/cart.wasm",
            "file:////shop//./cart.wasm",
        ] {
            let mut request = component("cart", json!(null));
            let PolicySubject::Component(about) = &mut request.request else {
                panic!("a component");
            };
            about.image_ref = image.into();
            assert_eq!(by(rules, &request), "deny by rule 1", "{image}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        assert_eq!(by(RULES, &call("purge")), "deny by rule `no purge`");
        assert_eq!(by(RULES, &call("drop-all")), "deny by rule `no purge`");
        assert_eq!(by(RULES, &call("get")), "allow by rule 2");
        let claims = |issuer: &str, expired: bool| {
            json!({
                "publicKey": "M", "issuer": issuer, "issuedAt": "1", "expiresAt": 2,
                "expired": expired,
            })
        };
        let start = |claims| component("cart", claims);
        assert_eq!(
            by(RULES, &start(claims("ATRUSTED", false))),
            "allow by rule 3"
        );
        assert_eq!(
            by(RULES, &start(claims("ATRUSTED", true))),
            "deny by default"
        );
        assert_eq!(
            by(RULES, &start(claims("AOTHER", false))),
            "deny by default"
        );
        assert_eq!(by(RULES, &start(json!(null))), "deny by default");
        assert_eq!(
            by(RULES, &component("probe2", json!(null))),
            "allow by rule 4"
        );
        let mut many = component("cart", claims("ATRUSTED", false));
        if let PolicySubject::Component(component) = &mut many.request {
            component.max_instances = 6;
        }
        assert_eq!(by(RULES, &many), "deny by default");
    }

    #[test]
    fn what_nobody_has_signed_has_not_expired_nor_not_expired() {
        for expired in [true, false] {
            let rules = format!("[[rule]]\nexpired = {expired}\ndecision = \"allow\"");
            assert_eq!(
                by(&rules, &component("cart", json!(null))),
                "deny by default"
            );
            let claims = json!({
                "publicKey": "M", "issuer": "A", "issuedAt": "1", "expiresAt": 2, "expired": expired,
            });
            assert_eq!(by(&rules, &component("cart", claims)), "allow by rule 1");
        }
    }

    #[test]
    fn without_rules_the_default_decides_and_that_is_no() {
        assert_eq!(by("", &call("get")), "deny by default");
        assert_eq!(by("default = \"allow\"", &call("get")), "allow by default");
        let denied = Rules::parse("").unwrap().decide(&call("get"));
        assert_eq!(denied.message.as_deref(), Some("no rule allows it"));
    }

    #[test]
    fn what_a_rule_cannot_say_is_refused_by_name() {
        for (text, part) in [
            ("[[rule]]\ndecision = \"maybe\"", "maybe"),
            ("[[rule]]\nid = \"x\"", "decision"),
            ("[[rule]]\ndecision = \"deny\"\nimgae = \"x\"", "imgae"),
            ("defualt = \"deny\"", "defualt"),
        ] {
            let error = Rules::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn answers_name_their_request_and_the_message_of_the_rule() {
        let request = call("purge");
        let response = Rules::parse(RULES)
            .unwrap()
            .decide(&request)
            .response(&request);
        assert_eq!(response.request_id, "1");
        assert_eq!(response.message.as_deref(), Some("carts are not purged"));
        assert!(!response.permitted);
    }
}
