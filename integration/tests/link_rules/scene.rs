//! A component whose calls stand under rules, and the roads that they take.

use anyhow::{Context as _, Result, bail, ensure};
use lattice_codec::{Reader, write};
use lattice_core::Locality;
use lattice_integration::{Lattice, STEP, call, params, until};
use lattice_rpc::Peer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const RUN: &str = "test:reach/reach@0.1.0.run";
pub(crate) const KEYVALUE: &str = "wasi:keyvalue/store,atomics,batch";

/// The road between component and provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    Inside,
    Socket,
    Bus,
}

pub(crate) const ROADS: [Road; 3] = [Road::Inside, Road::Socket, Road::Bus];

/// A lattice with the component `reach`, whose calls take a road.
pub(crate) struct Scene {
    pub(crate) lattice: Lattice,
    pub(crate) peer: Peer,
}

impl Scene {
    pub(crate) async fn start(road: Road) -> Result<Self> {
        Self::with(Lattice::start(1).await?, road).await
    }

    pub(crate) async fn with(mut lattice: Lattice, road: Road) -> Result<Self> {
        lattice.inside = road == Road::Inside;
        lattice.run(0, "reach", "reach", 10).await?;
        let peer = lattice.peer().await?;
        Ok(Self { lattice, peer })
    }

    /// Puts a link with rules.
    pub(crate) async fn link(
        &self,
        target: &str,
        interface: &str,
        road: Road,
        rules: Value,
    ) -> Result<()> {
        let reply = self.put("reach", target, interface, road, rules).await?;
        ensure!(reply["success"] == true, "{reply}");
        Ok(())
    }

    pub(crate) async fn put(
        &self,
        source: &str,
        target: &str,
        interface: &str,
        road: Road,
        rules: Value,
    ) -> Result<Value> {
        let (package, interfaces) = interface.split_once('/').context("no interface")?;
        let (namespace, package) = package.split_once(':').context("no package")?;
        let locality = match road {
            Road::Bus => Locality::Spread,
            _ => Locality::PreferLocal,
        };
        let link = json!({
            "source_id": source, "target": target, "wit_namespace": namespace,
            "wit_package": package, "interfaces": interfaces.split(',').collect::<Vec<_>>(),
            "locality": locality, "rules": rules,
        });
        self.lattice.ctl("link.put", link).await
    }

    /// Has the component do something; gives its own words.
    pub(crate) async fn run(&self, what: &str, names: &[&str]) -> Result<Result<String, String>> {
        let params = params(|out| {
            write::string(out, what);
            write::uleb(out, names.len() as u64);
            names.iter().for_each(|name| write::string(out, name));
        });
        let answer = call(&self.peer, "reach", RUN, params, 20_000).await?;
        let mut reader = Reader::new(answer);
        let is_err = reader.result_is_err()?;
        let words = reader.string()?;
        Ok(if is_err { Err(words) } else { Ok(words) })
    }

    /// The same for what has to succeed, now or as soon as the provider has taken its link.
    pub(crate) async fn does(&self, what: &str, names: &[&str]) -> Result<String> {
        until(async || match self.run(what, names).await? {
            Ok(words) => Ok(words),
            Err(error) => bail!("{what} {names:?}: {error}"),
        })
        .await
    }

    /// The same for what has to be refused at once.
    pub(crate) async fn refused(&self, what: &str, names: &[&str], words: &str) -> Result<()> {
        let answer = self.run(what, names).await?;
        match &answer {
            Err(error) if error.contains(words) => Ok(()),
            _ => bail!("{what} {names:?}: {answer:?}, not {words}"),
        }
    }

    /// Waits for an event of a denial that says this.
    pub(crate) async fn denial(&self, words: &str) -> Result<Value> {
        let is_it = |event: &lattice_integration::Event| {
            event.name == "invocation_failed"
                && event.data("component_id") == "reach"
                && event.data("error").contains(words)
        };
        let event = self.lattice.events.wait(is_it, STEP).await?;
        Ok(event.body["data"].clone())
    }
}

/// A server that ends with its test.
pub(crate) struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A server that answers each request with the same head.
pub(crate) async fn server(head: &str) -> Result<(String, Running)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let running = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                // How it ends is the client's business.
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    Ok((address, Running(running)))
}
