//! Whether providers may call what they call.

use std::time::Duration;

use futures::future::BoxFuture;

use super::LinkTable;

impl LinkTable {
    fn has_link(&self, source: &str, target: &str) -> bool {
        let sources = self.sources.read();
        let links = sources.get(source).map_or(&[][..], |source| &source.links);
        links.iter().any(|link| *link.target == *target)
    }
}

impl lattice_rpc::Links for LinkTable {
    fn is_linked(&self, source: &str, target: &str) -> bool {
        self.has_link(source, target)
    }

    fn linked<'a>(
        &'a self,
        source: &'a str,
        target: &'a str,
        within: Duration,
    ) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let mut version = self.version.subscribe();
            let heard_of = async {
                while !self.has_link(source, target) {
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
    use lattice_core::{ComponentId, LatticeName, Link};
    use lattice_rpc::Links as _;

    fn spec() -> ComponentSpec {
        let link: Link = serde_json::from_value(serde_json::json!({
            "source_id": "http", "target": "hello", "name": "default",
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
            tokio::spawn(
                async move { table.linked("http", "hello", Duration::from_secs(30)).await },
            )
        };
        table.put(&source, spec());
        assert!(waiting.await.unwrap());
        assert!(table.is_linked("http", "hello"));
        assert!(!table.is_linked("hello", "http") && !table.is_linked("http", "other"));
        let never = table.linked("http", "other", Duration::from_millis(10));
        assert!(!never.await);
    }
}
