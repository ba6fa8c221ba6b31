//! Whether providers may call what they call.

use std::time::Duration;

use futures::future::BoxFuture;
use lattice_core::Link;

use super::LinkTable;

impl LinkTable {
    /// A link with rules does not count: nobody keeps those of a provider's calls, which is why it is
    /// not told of the link either.
    fn has_link(&self, source: &str, target: &str, interface: &str) -> bool {
        // A statement of its own: the lock is not for reading through the links.
        let source = self.sources.read().get(source).cloned();
        let links = source.as_ref().map_or(&[][..], |source| source.served());
        let is_for = |link: &Link| *link.target == *target && link.leads_to(interface);
        links
            .iter()
            .any(|link| is_for(link) && link.rules.is_empty())
    }
}

impl lattice_rpc::Links for LinkTable {
    fn is_linked(&self, source: &str, target: &str, interface: &str) -> bool {
        self.has_link(source, target, interface)
    }

    fn linked<'a>(
        &'a self,
        source: &'a str,
        target: &'a str,
        interface: &'a str,
        within: Duration,
    ) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let mut version = self.version.subscribe();
            let heard_of = async {
                while !self.has_link(source, target, interface) {
                    if version.changed().await.is_err() {
                        return false;
                    }
                }
                true
            };
            let heard_of = tokio::time::timeout(within, heard_of).await;
            heard_of.unwrap_or(false)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use lattice_core::record::ComponentSpec;
    use lattice_core::{ComponentId, LatticeName};
    use lattice_rpc::Links as _;
    use serde_json::{Value, json};

    const HTTP: &str = "wrpc:http/incoming-handler@0.1.0";
    const SOON: Duration = Duration::from_millis(10);

    fn spec(rules: Value) -> ComponentSpec {
        let link: Link = serde_json::from_value(json!({
            "source_id": "http", "target": "hello", "name": "default", "rules": rules,
            "wit_namespace": "wasi", "wit_package": "http", "interfaces": ["incoming-handler"],
        }))
        .unwrap();
        ComponentSpec {
            links: vec![link],
            ..ComponentSpec::default()
        }
    }

    #[tokio::test]
    async fn a_link_that_comes_soon_is_waited_for_and_leads_one_way() {
        let table = Arc::new(LinkTable::new(LatticeName::default()));
        let source = ComponentId::new("http").unwrap();
        let waiting = {
            let table = Arc::clone(&table);
            tokio::spawn(async move {
                table
                    .linked("http", "hello", HTTP, Duration::from_secs(30))
                    .await
            })
        };
        table.put(&source, spec(json!({})));
        assert!(waiting.await.unwrap());
        assert!(table.is_linked("http", "hello", HTTP));
        assert!(!table.is_linked("hello", "http", HTTP));
        assert!(!table.is_linked("http", "other", HTTP));
        assert!(!table.linked("http", "other", HTTP, SOON).await);
    }

    #[tokio::test]
    async fn a_link_leads_to_the_interfaces_that_it_names() {
        let table = LinkTable::new(LatticeName::default());
        let source = ComponentId::new("http").unwrap();
        table.put(&source, spec(json!({})));
        for other in [
            "wrpc:keyvalue/watcher@0.2.0-draft",
            "a:b/c",
            "",
            "wrpc:http/types@0.1.0",
        ] {
            assert!(!table.is_linked("http", "hello", other), "{other}");
        }
        assert!(!table.linked("http", "hello", "a:b/c", SOON).await);
    }

    #[test]
    fn a_link_with_rules_that_nobody_keeps_leads_nowhere() {
        let table = LinkTable::new(LatticeName::default());
        let source = ComponentId::new("http").unwrap();
        table.put(&source, spec(json!({"rate": "1/s"})));
        assert!(!table.is_linked("http", "hello", HTTP));
    }
}
