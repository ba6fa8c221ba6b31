//! The links of the counter: put where there are none, put back where they lead nowhere.

use anyhow::Result;
use serde_json::Value;

use super::wash::Wash;
use crate::shell;

/// A link that the counter cannot do without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) source: &'static str,
    pub(super) target: &'static str,
    pub(super) package: &'static str,
    pub(super) interfaces: &'static [&'static str],
    /// The flag and the name of the config of one end.
    pub(super) config: [&'static str; 2],
}

/// What the lattice has stored in the place of a [`Link`].
#[derive(Debug, PartialEq, Eq)]
enum Stored<'a> {
    Nothing,
    /// It leads to something that runs, whoever put it.
    InUse,
    /// It leads to `target`, which runs nowhere.
    Dead {
        target: &'a str,
    },
}

impl Link {
    /// Makes sure that the link leads to something that runs; what the user has put in its place
    /// stays as long as it does.
    pub(super) fn ensure(&self, wash: &Wash, links: &Value, running: &[String]) -> Result<()> {
        match self.stored(links, running) {
            Stored::InUse => return Ok(()),
            Stored::Nothing => {}
            Stored::Dead { target } => {
                let (source, own) = (self.source, self.target);
                shell::note(&format!(
                    "`{source}` was linked to `{target}`, which runs on no host: back to `{own}`"
                ));
                wash.run(&["link", "del", source, "wasi", self.package])?;
            }
        }
        wash.run(&self.put())?;
        Ok(())
    }

    fn stored<'a>(&self, links: &'a Value, running: &[String]) -> Stored<'a> {
        let links = links["links"].as_array().map_or(&[][..], Vec::as_slice);
        let targets: Vec<&str> = links
            .iter()
            .filter(|link| self.is_in_place(link))
            .filter_map(|link| link["target"].as_str())
            .collect();
        let dead = |target: &&&str| !running.iter().any(|id| id == **target);
        match targets.iter().find(dead) {
            Some(target) => Stored::Dead { target },
            None if targets.is_empty() => Stored::Nothing,
            None => Stored::InUse,
        }
    }

    /// Whether calls through this link's default name go through `link`.
    fn is_in_place(&self, link: &Value) -> bool {
        let named = link["name"].as_str().unwrap_or("default");
        link["source_id"] == self.source
            && link["wit_namespace"] == "wasi"
            && link["wit_package"] == self.package
            && named == "default"
    }

    fn put(&self) -> Vec<&'static str> {
        let mut arguments = vec![
            "link",
            "put",
            self.source,
            self.target,
            "wasi",
            self.package,
        ];
        for interface in self.interfaces {
            arguments.extend(["--interface", interface]);
        }
        arguments.extend(self.config);
        arguments
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LINK: Link = Link {
        source: "counter",
        target: "kv",
        package: "keyvalue",
        interfaces: &["store", "atomics"],
        config: ["--target-config", "counter-kv"],
    };

    fn to(target: &str) -> Value {
        link(target, "default")
    }

    fn link(target: &str, name: &str) -> Value {
        json!({
            "source_id": "counter", "target": target, "name": name,
            "wit_namespace": "wasi", "wit_package": "keyvalue",
        })
    }

    fn stored(links: &Value, running: &[&str]) -> String {
        let running: Vec<String> = running.iter().map(|id| (*id).to_owned()).collect();
        format!("{:?}", LINK.stored(links, &running))
    }

    #[test]
    fn link_to_a_provider_that_runs_is_left_alone() {
        let links = json!({"links": [to("kv2")]});
        assert_eq!(stored(&links, &["kv", "kv2"]), "InUse");
        let links = json!({"links": [to("kv")]});
        assert_eq!(stored(&links, &["kv"]), "InUse");
    }

    #[test]
    fn link_to_a_provider_that_runs_nowhere_is_put_back() {
        let links = json!({"links": [to("kv2")]});
        assert_eq!(stored(&links, &["kv"]), r#"Dead { target: "kv2" }"#);
        // One interface of two that leads nowhere is enough to keep the counter from answering.
        let links = json!({"links": [to("kv"), to("kv2")]});
        assert_eq!(stored(&links, &["kv"]), r#"Dead { target: "kv2" }"#);
    }

    #[test]
    fn links_of_others_and_of_other_names_do_not_count() {
        assert_eq!(stored(&json!({}), &["kv"]), "Nothing");
        let mut other = to("kv2");
        other["source_id"] = "cart".into();
        let links = json!({"links": [other, link("kv2", "archive")]});
        assert_eq!(stored(&links, &["kv"]), "Nothing");
    }

    #[test]
    fn link_is_put_with_its_interfaces_and_config() {
        assert_eq!(
            LINK.put().join(" "),
            "link put counter kv wasi keyvalue --interface store --interface atomics --target-config counter-kv"
        );
    }
}
