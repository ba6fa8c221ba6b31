//! Records of the lattice bucket: component specs and claims.

use serde::{Deserialize, Deserializer, Serialize};

use crate::StringMap;
use crate::link::Link;
use crate::locality::Locality;

/// What an entry among the interfaces of a stored link begins with that repeats the link's rules.
/// No interface has such a name.
const KEPT_RULES: &str = "lattice-rules:";

/// The most links of one entity. A record of the size that NATS takes by default, a megabyte, holds fewer
/// of the usual length.
pub const MAX_LINKS: usize = 8192;

/// What the bucket knows about one entity. Providers have one too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentSpec {
    /// The reference at first start; empty if a link came first.
    pub url: String,
    /// The links whose source is this entity.
    pub links: Vec<Link>,
}

impl ComponentSpec {
    /// Reads a stored record. A link with a locality that is not known, as a newer version may have
    /// one, has the default one; whoever writes the record then, writes it so.
    ///
    /// # Errors
    ///
    /// What serde says, for everything else that is no record.
    pub fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        let mut spec = Self::read_as_it_is(json)?;
        spec.links.iter_mut().for_each(restore_rules);
        Ok(spec)
    }

    /// The record as it is stored.
    ///
    /// A host of 1.9 that puts or deletes another link of the entity writes the record anew without
    /// the fields that it does not know, and a link without its rules would be open. Interfaces it
    /// carries along whatever they are, so the rules stand among them once more.
    ///
    /// # Errors
    ///
    /// What serde says; no record is known that cannot be written.
    pub fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut stored = self.clone();
        for link in &mut stored.links {
            keep_rules(link)?;
        }
        serde_json::to_vec(&stored)
    }

    fn read_as_it_is(json: &[u8]) -> Result<Self, serde_json::Error> {
        let strict = serde_json::from_slice(json);
        if strict.is_ok() {
            return strict;
        }
        let Ok(mut spec) = serde_json::from_slice::<serde_json::Value>(json) else {
            return strict;
        };
        let links = spec.get_mut("links").and_then(|links| links.as_array_mut());
        for link in links.into_iter().flatten() {
            let known = |text: &str| text.parse::<Locality>().is_ok();
            let of = link.get("locality").and_then(|text| text.as_str());
            if of.is_some_and(|text| !known(text))
                && let Some(link) = link.as_object_mut()
            {
                link.remove("locality");
            }
        }
        serde_json::from_value(spec).or(strict)
    }
}

/// Has the rules of a link stand among its interfaces once more, for hosts of 1.9 to carry them
/// along: in what they store, and in what they are told to store.
///
/// # Errors
///
/// What serde says; no rules are known that cannot be written.
pub fn keep_rules(link: &mut Link) -> Result<(), serde_json::Error> {
    restore_rules(link);
    if !link.rules.is_empty() {
        let rules = told_apart(link)?;
        link.interfaces.push(format!("{KEPT_RULES}{rules}"));
    }
    Ok(())
}

/// The rules of a link in JSON, in words that no link to another target has: a host of 1.9 takes two
/// links with one entry in common for links of one interface, and refuses the second one.
///
/// The first rule stands there twice, at first with the target for its value. Whoever reads JSON goes
/// by the last one, so that hosts of ours which do not know of this read the same rules.
fn told_apart(link: &Link) -> Result<String, serde_json::Error> {
    let rules = serde_json::to_value(&link.rules)?;
    let json = rules.to_string();
    let Some(first) = rules.as_object().and_then(|rules| rules.keys().next()) else {
        return Ok(json);
    };
    let (first, target) = (
        serde_json::to_string(first)?,
        serde_json::to_string(&link.target)?,
    );
    Ok(json.replacen('{', &format!("{{{first}:{target},"), 1))
}

/// Takes the rules from among the interfaces, and has them stand where they belong if they are
/// missing there. What cannot be read is a rule that no call passes.
pub fn restore_rules(link: &mut Link) {
    let mut kept = None;
    link.interfaces.retain(|name| {
        let rules = name.strip_prefix(KEPT_RULES);
        kept = rules.map(str::to_owned).or(kept.take());
        rules.is_none()
    });
    let Some(kept) = kept.filter(|_| link.rules.is_empty()) else {
        return;
    };
    let unreadable = |_| serde_json::Value::String(kept.clone());
    link.rules = serde_json::from_str(&kept)
        .unwrap_or_else(unreadable)
        .into();
}

/// Stored claims of a component or a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StoredClaims {
    /// Claims of a component; told apart by `call_alias` and `tags`.
    Component(StoredComponentClaims),
    /// Claims of a provider.
    Provider(StoredProviderClaims),
}

/// Stored claims of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredComponentClaims {
    /// A short name to call it by.
    pub call_alias: String,
    /// The account that signed.
    #[serde(alias = "iss")]
    pub issuer: String,
    /// The name of the component.
    pub name: String,
    /// The revision as text.
    #[serde(alias = "rev")]
    pub revision: String,
    /// The public key of the component.
    #[serde(alias = "sub")]
    pub subject: String,
    /// Tags.
    #[serde(deserialize_with = "tags")]
    pub tags: Vec<String>,
    /// The version.
    pub version: String,
    /// When the token expires, in epoch seconds. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// Stored claims of a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredProviderClaims {
    /// The account that signed.
    #[serde(alias = "iss")]
    pub issuer: String,
    /// The name of the provider.
    pub name: String,
    /// The revision as text.
    #[serde(alias = "rev")]
    pub revision: String,
    /// The public key of the provider.
    #[serde(alias = "sub")]
    pub subject: String,
    /// The version.
    pub version: String,
    /// A schema of its config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<String>,
    /// When the token expires, in epoch seconds. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// Older hosts wrote tags as one comma-separated string.
fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Tags {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Tags::deserialize(deserializer)? {
        Tags::List(tags) => tags,
        Tags::Text(text) => text
            .split(',')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

impl StoredClaims {
    /// The public key the claims are about; it is also the suffix of their key.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::Component(claims) => &claims.subject,
            Self::Provider(claims) => &claims.subject,
        }
    }

    /// When the token expires, in epoch seconds.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        match self {
            Self::Component(claims) => claims.expires,
            Self::Provider(claims) => claims.expires,
        }
    }

    /// The flat map that `claims.get` answers with, both spellings of each key; an expiry is ours.
    #[must_use]
    pub fn to_claims_map(&self) -> StringMap {
        let (issuer, name, revision, subject, version) = match self {
            Self::Component(c) => (&c.issuer, &c.name, &c.revision, &c.subject, &c.version),
            Self::Provider(c) => (&c.issuer, &c.name, &c.revision, &c.subject, &c.version),
        };
        let mut map: StringMap = [
            ("iss", issuer),
            ("issuer", issuer),
            ("name", name),
            ("rev", revision),
            ("revision", revision),
            ("sub", subject),
            ("subject", subject),
            ("version", version),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
        match self {
            Self::Component(claims) => {
                map.insert("call_alias".to_owned(), claims.call_alias.clone());
                map.insert("tags".to_owned(), claims.tags.join(","));
            }
            Self::Provider(claims) => {
                let schema = claims.config_schema.clone().unwrap_or_default();
                map.insert("config_schema".to_owned(), schema);
            }
        }
        if let Some(at) = self.expires() {
            map.extend(["exp", "expires"].map(|key| (key.to_owned(), at.to_string())));
        }
        map.sort_unstable_keys();
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruled(rules: &str) -> ComponentSpec {
        let link = format!(
            r#"{{"source_id":"a","target":"b","wit_namespace":"wasi","wit_package":"keyvalue",
                "interfaces":["store","batch"],"rules":{rules}}}"#
        );
        let links = vec![serde_json::from_str(&link).unwrap()];
        let url = String::new();
        ComponentSpec { url, links }
    }

    /// What a host of 1.9 makes of a record: what it does not know is gone.
    fn rewritten(record: &[u8]) -> Vec<u8> {
        let mut spec: serde_json::Value = serde_json::from_slice(record).unwrap();
        for link in spec["links"].as_array_mut().unwrap() {
            link.as_object_mut().unwrap().remove("rules").unwrap();
        }
        serde_json::to_vec(&spec).unwrap()
    }

    #[test]
    fn rules_outlast_a_host_that_does_not_know_them() {
        let spec = ruled(r#"{"allow":["get"],"prefix":["orders/"],"later":{"x":1}}"#);
        assert!(!spec.links[0].rules.is_empty());
        let stored = spec.write().unwrap();
        assert_eq!(ComponentSpec::read(&stored).unwrap(), spec);
        assert_eq!(ComponentSpec::read(&rewritten(&stored)).unwrap(), spec);
    }

    #[test]
    fn rules_that_cannot_be_read_let_nothing_pass() {
        let stored = ruled(r#"{"allow":["get"]}"#).write().unwrap();
        let text = String::from_utf8(rewritten(&stored)).unwrap();
        let broken = text.replace(r#"{\"allow\""#, r#"{\"al"#);
        assert_ne!(broken, text);
        let spec = ComponentSpec::read(broken.as_bytes()).unwrap();
        assert!(!spec.links[0].rules.unknown.is_empty());
        assert_eq!(spec.links[0].interfaces, ["store", "batch"]);
    }

    #[test]
    fn rules_nested_as_deep_as_can_be_read_alone_do_not_spoil_an_answer() {
        let mut link = ruled("{}").links.remove(0);
        let deep = format!("{}{}", "[".repeat(124), "]".repeat(124));
        link.interfaces.push(format!("{KEPT_RULES}{deep}"));
        restore_rules(&mut link);
        assert!(!link.rules.unknown.is_empty());
        let answer = serde_json::json!({"success": true, "response": [link]}).to_string();
        serde_json::from_str::<serde_json::Value>(&answer).unwrap();
    }

    #[test]
    fn links_with_equal_rules_have_nothing_in_common_for_a_host_of_1_9() {
        for rules in [
            r#"{"prefix":["x"]}"#,
            r#"{"read_only":true,"rate":"2/s"}"#,
            r#"{"a \"{:":{"b":[]}}"#,
        ] {
            let mut spec = ruled(rules);
            let mut other = spec.links[0].clone();
            other.target = "say \"{b\"".to_owned();
            other.interfaces = vec!["atomics".to_owned()];
            spec.links.push(other);
            let stored = spec.write().unwrap();
            let known: serde_json::Value = serde_json::from_slice(&stored).unwrap();
            let interfaces = |place: usize| known["links"][place]["interfaces"].as_array().unwrap();
            let (first, second) = (interfaces(0), interfaces(1));
            assert!(!first.iter().any(|name| second.contains(name)), "{known}");
            assert_eq!(ComponentSpec::read(&rewritten(&stored)).unwrap(), spec);
            // As hosts of ours read it that do not know what the first rule is for.
            let kept = second.last().and_then(|kept| kept.as_str()).unwrap();
            let kept = kept.strip_prefix(KEPT_RULES).unwrap();
            let kept: serde_json::Value = serde_json::from_str(kept).unwrap();
            assert_eq!(crate::LinkRules::from(kept), spec.links[1].rules);
        }
    }

    #[test]
    fn rules_that_were_kept_without_the_target_are_read() {
        let spec = ruled(r#"{"prefix":["x"]}"#);
        let mut link = Link {
            rules: crate::LinkRules::default(),
            ..spec.links[0].clone()
        };
        let kept = r#"lattice-rules:{"prefix":["x"]}"#;
        link.interfaces.push(kept.to_owned());
        restore_rules(&mut link);
        assert_eq!(link, spec.links[0]);
    }

    #[test]
    fn links_without_rules_are_stored_as_in_1_9() {
        let spec = ruled("{}");
        assert_eq!(spec.write().unwrap(), serde_json::to_vec(&spec).unwrap());
    }

    #[test]
    fn one_link_of_a_newer_version_takes_no_other_away() {
        let text = r#"{"url":"","links":[
            {"source_id":"a","target":"b","name":"default","wit_namespace":"wasi","wit_package":"http",
             "interfaces":["x"],"source_config":[],"target_config":[],"locality":"same-rack"},
            {"source_id":"a","target":"c","name":"default","wit_namespace":"wasi","wit_package":"io",
             "interfaces":["x"],"source_config":[],"target_config":[],"locality":"spread"}]}"#;
        let spec = ComponentSpec::read(text.as_bytes()).unwrap();
        let read: Vec<_> = spec.links.iter().map(|link| link.locality).collect();
        assert_eq!(read, [Locality::default(), Locality::Spread]);
        ComponentSpec::read(b"{}").unwrap_err();
        ComponentSpec::read(b"no JSON").unwrap_err();
    }

    #[test]
    fn component_claims_are_told_from_provider_claims() {
        let component = r#"{"call_alias":"","issuer":"A","name":"n","revision":"1","subject":"M","tags":["x"],"version":"1"}"#;
        let claims: StoredClaims = serde_json::from_str(component).unwrap();
        assert!(matches!(claims, StoredClaims::Component(_)));
        assert_eq!(serde_json::to_string(&claims).unwrap(), component);
        let provider = r#"{"iss":"A","name":"n","rev":"1","sub":"V","version":"1"}"#;
        let claims: StoredClaims = serde_json::from_str(provider).unwrap();
        assert_eq!(claims.subject(), "V");
    }

    #[test]
    fn tags_as_one_text_are_split() {
        let text = r#"{"call_alias":"","iss":"A","name":"n","rev":"1","sub":"M","tags":"a, b,","version":"1"}"#;
        let StoredClaims::Component(claims) = serde_json::from_str(text).unwrap() else {
            panic!("not a component");
        };
        assert_eq!(claims.tags, ["a", "b"]);
    }

    #[test]
    fn the_flat_map_has_the_keys_of_its_kind() {
        let component = StoredClaims::Component(StoredComponentClaims::default());
        let keys: Vec<_> = component.to_claims_map().into_keys().collect();
        assert_eq!(
            keys.join(" "),
            "call_alias iss issuer name rev revision sub subject tags version"
        );
        let provider = StoredClaims::Provider(StoredProviderClaims::default());
        let keys: Vec<_> = provider.to_claims_map().into_keys().collect();
        assert_eq!(
            keys.join(" "),
            "config_schema iss issuer name rev revision sub subject version"
        );
    }
}
