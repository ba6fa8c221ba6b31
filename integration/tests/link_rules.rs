//! Rules of links: what a component is refused by its host, over every road.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BytesMut;
use lattice_codec::{Reader, write};
use lattice_core::Locality;
use lattice_integration::{Lattice, STEP, call, params, program, text, until};
use lattice_rpc::Peer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

const RUN: &str = "test:reach/reach@0.1.0.run";
const KEYVALUE: &str = "wasi:keyvalue/store,atomics,batch";
const BLOBS: &str = "wasi:blobstore/blobstore,container";
const HTTP: &str = "wasi:http/outgoing-handler";

/// The road between component and provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Road {
    Inside,
    Socket,
    Bus,
}

const ROADS: [Road; 3] = [Road::Inside, Road::Socket, Road::Bus];

/// A lattice with the component `reach`, whose calls take a road.
struct Scene {
    lattice: Lattice,
    peer: Peer,
}

impl Scene {
    async fn start(road: Road) -> Result<Self> {
        Self::with(Lattice::start(1).await?, road).await
    }

    async fn with(mut lattice: Lattice, road: Road) -> Result<Self> {
        lattice.inside = road == Road::Inside;
        lattice.run(0, "reach", "reach", 10).await?;
        let peer = lattice.peer().await?;
        Ok(Self { lattice, peer })
    }

    /// Puts a link with rules.
    async fn link(&self, target: &str, interface: &str, road: Road, rules: Value) -> Result<()> {
        let reply = self.put("reach", target, interface, road, rules).await?;
        ensure!(reply["success"] == true, "{reply}");
        Ok(())
    }

    async fn put(
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
    async fn run(&self, what: &str, names: &[&str]) -> Result<Result<String, String>> {
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
    async fn does(&self, what: &str, names: &[&str]) -> Result<String> {
        until(async || match self.run(what, names).await? {
            Ok(words) => Ok(words),
            Err(error) => bail!("{what} {names:?}: {error}"),
        })
        .await
    }

    /// The same for what has to be refused at once.
    async fn refused(&self, what: &str, names: &[&str], words: &str) -> Result<()> {
        let answer = self.run(what, names).await?;
        match &answer {
            Err(error) if error.contains(words) => Ok(()),
            _ => bail!("{what} {names:?}: {answer:?}, not {words}"),
        }
    }

    /// Waits for an event of a denial that says this.
    async fn denial(&self, words: &str) -> Result<Value> {
        let is_it = |event: &lattice_integration::Event| {
            event.name == "invocation_failed"
                && event.data("component_id") == "reach"
                && event.data("error").contains(words)
        };
        let event = self.lattice.events.wait(is_it, STEP).await?;
        Ok(event.body["data"].clone())
    }
}

#[tokio::test]
async fn keys_and_buckets_are_kept_to_over_every_road() -> Result<()> {
    for road in ROADS {
        let of = Scene::start(road).await?;
        of.lattice.provide_store(0).await?;
        of.link("kv", KEYVALUE, road, json!({})).await?;
        of.does("set", &["", "orders/1"]).await?;
        of.does("set", &["", "users/1"]).await?;
        let rules = json!({"prefix": ["orders/"], "within": [""]});
        of.link("kv", KEYVALUE, road, rules).await?;
        ensure!(of.does("get", &["", "orders/1"]).await? == "value");
        of.does("increment", &["", "orders/n"]).await?;
        for (what, names) in [
            ("get", &["", "users/1"][..]),
            ("set", &["", "users/2"]),
            ("delete", &["", "users/1"]),
            ("exists", &["", "users/1"]),
            ("increment", &["", "users/n"]),
            ("get-many", &["", "orders/1", "users/1"]),
            ("set-many", &["", "orders/2", "users/2"]),
            ("delete-many", &["", "users/1"]),
            ("get", &["", "orders/../users/1"]),
            ("get", &["other", "orders/1"]),
            ("list-keys", &["other"]),
        ] {
            let told = of.refused(what, names, "AccessDenied").await;
            told.with_context(|| format!("{road:?}"))?;
        }
        // Others' keys are not even named.
        let listed = of.does("list-keys", &[""]).await?;
        ensure!(listed == "orders/1,orders/n", "{road:?}: {listed}");
        // What was refused has not been done.
        of.link("kv", KEYVALUE, road, json!({})).await?;
        let listed = of.does("list-keys", &[""]).await?;
        ensure!(listed == "orders/1,orders/n,users/1", "{road:?}: {listed}");
    }
    Ok(())
}

#[tokio::test]
async fn functions_and_reads_are_kept_to_over_every_road() -> Result<()> {
    for road in ROADS {
        let of = Scene::start(road).await?;
        of.lattice.provide_store(0).await?;
        of.link("kv", KEYVALUE, road, json!({"read_only": true}))
            .await?;
        ensure!(of.does("get", &["", "a"]).await? == "absent");
        of.does("get-many", &["", "a"]).await?;
        for what in ["set", "delete", "increment", "set-many", "delete-many"] {
            of.refused(what, &["", "a"], "AccessDenied").await?;
        }
        let allow = json!({"allow": ["set", "list-keys"]});
        of.link("kv", KEYVALUE, road, allow).await?;
        of.does("set", &["", "a"]).await?;
        ensure!(of.does("list-keys", &[""]).await? == "a");
        for what in ["get", "exists", "delete", "get-many"] {
            of.refused(what, &["", "a"], "AccessDenied").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_rate_is_kept_to_over_every_road() -> Result<()> {
    for road in ROADS {
        let of = Scene::start(road).await?;
        of.lattice.provide_store(0).await?;
        of.link("kv", KEYVALUE, road, json!({})).await?;
        of.does("set", &["", "a"]).await?;
        of.link("kv", KEYVALUE, road, json!({"rate": "3/h"}))
            .await?;
        for _ in 0..3 {
            of.does("get", &["", "a"]).await?;
        }
        let told = "the rule `rate` of the link `reach -> wasi:keyvalue (default)`";
        of.refused("get", &["", "a"], told).await?;
        let denial = of.denial(told).await?;
        ensure!(denial["code"] == "busy", "{denial}");
        // Another link of the source begins its count, this one goes on with its own.
        of.link("nobody", "lattice:lock/lock", road, json!({}))
            .await?;
        of.refused("get", &["", "a"], told).await?;
    }
    Ok(())
}

#[tokio::test]
async fn objects_and_containers_are_kept_to_over_every_road() -> Result<()> {
    for road in ROADS {
        let of = Scene::start(road).await?;
        let root = tempfile::tempdir()?;
        let values = json!({"root": root.path().display().to_string()});
        of.lattice.config("blobs", values).await?;
        of.lattice
            .provide(0, "blobs", "blobstore-fs-provider", &["blobs"])
            .await?;
        of.link("blobs", BLOBS, road, json!({})).await?;
        for container in ["mine", "other"] {
            of.does("create-container", &[container]).await?;
        }
        of.does("write", &["mine", "a/1"]).await?;
        of.does("write", &["mine", "b/1"]).await?;
        let rules = json!({"within": ["mine"], "prefix": ["a/"]});
        of.link("blobs", BLOBS, road, rules).await?;
        of.does("write", &["mine", "a/2"]).await?;
        ensure!(of.does("read", &["mine", "a/1"]).await? == "value");
        of.does("copy", &["mine", "a/1", "mine", "a/3"]).await?;
        let listed = of.does("list-objects", &["mine"]).await?;
        ensure!(listed == "a/1,a/2,a/3", "{road:?}: {listed}");
        for (what, names, rule) in [
            ("read", &["mine", "b/1"][..], "prefix"),
            ("write", &["mine", "b/2"], "prefix"),
            ("copy", &["mine", "b/1", "mine", "a/4"], "prefix"),
            ("copy", &["mine", "a/1", "other", "a/1"], "within"),
            ("clear-container", &["mine"], "prefix"),
            ("list-objects", &["other"], "within"),
            ("create-container", &["third"], "within"),
        ] {
            let told = of.refused(what, names, &format!("the rule `{rule}`")).await;
            told.with_context(|| format!("{road:?}"))?;
        }
        of.link("blobs", BLOBS, road, json!({"read_only": true}))
            .await?;
        ensure!(of.does("read", &["mine", "b/1"]).await? == "value");
        of.refused("write", &["mine", "b/1"], "the rule `read-only`")
            .await?;
    }
    Ok(())
}

/// Nobody is there, so that what passes the rules finds nobody.
#[tokio::test]
async fn every_capability_tells_a_denial_in_its_own_error() -> Result<()> {
    let of = Scene::start(Road::Bus).await?;
    for (interface, rules) in [
        (
            "wasmcloud:messaging/consumer",
            json!({"subject": ["orders.*"]}),
        ),
        (
            "lattice:queue/producer,consumer",
            json!({"within": ["jobs"], "read_only": true}),
        ),
        ("lattice:sql/sql", json!({"read_only": true})),
        ("lattice:lock/lock", json!({"prefix": ["mine/"]})),
        ("lattice:schedule/scheduler", json!({"prefix": ["mine/"]})),
    ] {
        of.link("nobody", interface, Road::Bus, rules).await?;
    }
    for (what, names, words) in [
        ("publish", &["orders.1"][..], "does not serve"),
        ("publish", &["users.1"], "the rule `subject`"),
        ("publish", &["orders.1", "admin.stop"], "the rule `subject`"),
        ("publish", &["orders.>"], "the rule `subject`"),
        ("request", &["users.1"], "the rule `subject`"),
        ("depth", &["jobs"], "Unavailable"),
        ("depth", &["other"], "AccessDenied"),
        ("send", &["jobs"], "AccessDenied"),
        ("receive", &["jobs"], "AccessDenied"),
        ("query", &["shop", "SELECT 1"], "Unavailable"),
        (
            "query",
            &["shop", "SELECT 1e1INTO OUTFILE '/x'"],
            "AccessDenied",
        ),
        (
            "query",
            &["shop", "DELETE FROM t RETURNING *"],
            "AccessDenied",
        ),
        ("query", &["shop", "SELECT 1; DROP TABLE t"], "AccessDenied"),
        ("execute", &["shop", "SELECT 1"], "AccessDenied"),
        ("inspect", &["", "mine/1"], "Unavailable"),
        ("acquire", &["", "other/1"], "AccessDenied"),
        ("put-job", &["mine/1"], "Unavailable"),
        ("put-job", &["other/1"], "AccessDenied"),
        ("delete-job", &["other/1"], "AccessDenied"),
    ] {
        of.refused(what, names, words).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_component_calls_those_functions_of_another_that_its_link_allows() -> Result<()> {
    // The other one runs beside it, and then on another host.
    for host in [0, 1] {
        let lattice = Lattice::start(host + 1).await?;
        lattice.run(host, "probe", "probe", 10).await?;
        lattice.run_caller("probe", 10).await?;
        let peer = lattice.peer().await?;
        let relay = |function: &str| format!("test:caller/relay@0.1.0.{function}");
        let of = Scene {
            peer: lattice.peer().await?,
            lattice,
        };
        let interfaces = "test:probe/echo,behave,keyvalue,types";
        let rules = json!({"allow": ["text"]});
        let reply = of
            .put("caller", "probe", interfaces, Road::Socket, rules)
            .await?;
        ensure!(reply["success"] == true, "{reply}");
        let named = "the rule `allow` of the link `caller -> test:probe (default)`";
        // A function whose error is a text is told in it, as soon as the host knows of the link.
        let words = until(async || {
            let refused = call(&peer, "caller", &relay("refuse"), text("no"), 20_000).await?;
            let mut reader = Reader::new(refused);
            ensure!(reader.result_is_err()?);
            let words = reader.string()?;
            ensure!(words.contains(named), "{words}");
            Ok(words)
        })
        .await?;
        ensure!(
            words.contains("`--allow refuse` would let it through"),
            "{words}"
        );
        let echoed = call(&peer, "caller", &relay("text"), text("hi"), 20_000).await?;
        ensure!(echoed == text("hi"));
        // One that has no error ends its caller.
        let mut milliseconds = BytesMut::new();
        write::uleb(&mut milliseconds, 1);
        let trapped = call(
            &peer,
            "caller",
            &relay("sleep"),
            milliseconds.freeze(),
            20_000,
        )
        .await;
        let error = trapped.err().context("slept")?.to_string();
        ensure!(error.contains(named), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_linked_is_not_reached() -> Result<()> {
    let of = Scene::start(Road::Inside).await?;
    of.lattice.provide_store(0).await?;
    of.lattice
        .provide(0, "client", "http-client-provider", &[])
        .await?;
    let (address, _server) = server("200 OK").await?;
    let http = ["GET", "http", &address, "/"];
    for (what, names) in [
        ("get", &["", "a"][..]),
        ("get-many", &["", "a"]),
        ("publish", &["a"]),
        ("list-objects", &["a"]),
        ("http", &http),
    ] {
        of.refused(what, names, "not found for instance").await?;
    }
    // A link for one interface of a package is none for another.
    of.link("kv", "wasi:keyvalue/store", Road::Inside, json!({}))
        .await?;
    of.does("get", &["", "a"]).await?;
    of.refused("get-many", &["", "a"], "not found for instance")
        .await?;
    of.refused("increment", &["", "a"], "not found for instance")
        .await?;
    Ok(())
}

#[tokio::test]
async fn denials_are_events_that_name_rule_and_grant_and_do_not_flood() -> Result<()> {
    let of = Scene::start(Road::Socket).await?;
    of.link(
        "nobody",
        KEYVALUE,
        Road::Socket,
        json!({"prefix": ["orders/"]}),
    )
    .await?;
    for _ in 0..200 {
        of.refused("get", &["", "users/1"], "AccessDenied").await?;
    }
    let denial = of
        .denial("`--prefix 'users/1'` would let it through")
        .await?;
    ensure!(denial["code"] == "forbidden", "{denial}");
    ensure!(
        denial["operation"] == "wrpc:keyvalue/store@0.2.0-draft.get",
        "{denial}"
    );
    let error = denial["error"].as_str().unwrap_or_default();
    ensure!(
        error.starts_with("the rule `prefix` of the link `reach -> wasi:keyvalue (default)`"),
        "{error}"
    );
    // The others are counted, not told one by one.
    let all = of.lattice.events.all();
    let denials = all
        .iter()
        .filter(|event| event.name == "invocation_failed")
        .count();
    ensure!(denials < 50, "{denials} events");
    Ok(())
}

#[tokio::test]
async fn rules_without_a_meaning_are_refused_when_a_link_is_put() -> Result<()> {
    let of = Scene::start(Road::Socket).await?;
    for (interface, rules, words) in [
        (
            "my:own/thing",
            json!({"prefix": ["a"]}),
            "`prefix` has no meaning for `my:own/thing`",
        ),
        (
            KEYVALUE,
            json!({"to": ["https://a"]}),
            "`to` has no meaning",
        ),
        (
            KEYVALUE,
            json!({"of_tomorrow": true}),
            "does not know the rule `of_tomorrow`",
        ),
        (
            KEYVALUE,
            json!({"rate": "quick"}),
            "does not know the rule `rate`",
        ),
        (KEYVALUE, json!({"allow": ["grab"]}), "names `grab`"),
        (
            "wasi:http/incoming-handler",
            json!({"rate": "1/s"}),
            "a provider makes",
        ),
    ] {
        let reply = of
            .put("reach", "kv", interface, Road::Socket, rules)
            .await?;
        ensure!(
            reply["success"] == false && reply["code"] == "bad-request",
            "{reply}"
        );
        ensure!(
            reply["message"]
                .as_str()
                .unwrap_or_default()
                .contains(words),
            "{reply}"
        );
        ensure!(reply["hint"].is_string(), "{reply}");
    }
    let links = of.lattice.ctl_ok("link.get", Value::Null).await?;
    ensure!(links["response"] == json!([]), "{links}");
    Ok(())
}

/// A record that a host of a later version may have written.
#[tokio::test]
async fn a_rule_of_tomorrow_shuts_its_link_and_stays_in_the_record() -> Result<()> {
    let of = Scene::start(Road::Inside).await?;
    of.lattice.provide_store(0).await?;
    of.link("kv", KEYVALUE, Road::Inside, json!({})).await?;
    of.does("set", &["", "a"]).await?;
    let store = async_nats::jetstream::new(of.lattice.client.clone());
    let store = store.get_key_value("LATTICEDATA_default").await?;
    let record = store.get("COMPONENT_reach").await?.context("no record")?;
    let mut record: Value = serde_json::from_slice(&record)?;
    let tomorrow = json!({"allow": ["get"], "weekdays": ["monday"]});
    record["links"][0]["rules"] = tomorrow.clone();
    store
        .put("COMPONENT_reach", serde_json::to_vec(&record)?.into())
        .await?;
    until(async || of.refused("get", &["", "a"], "AccessDenied").await).await?;
    let denial = of.denial("the rule `weekdays`").await?;
    ensure!(denial["code"] == "forbidden", "{denial}");
    // A host of today that writes the record keeps what it does not know.
    of.link("nobody", "lattice:lock/lock", Road::Inside, json!({}))
        .await?;
    let record = store.get("COMPONENT_reach").await?.context("no record")?;
    let record: Value = serde_json::from_slice(&record)?;
    ensure!(record["links"][0]["rules"] == tomorrow, "{record}");
    ensure!(
        record["links"].as_array().map(Vec::len) == Some(2),
        "{record}"
    );
    Ok(())
}

/// A server that ends with its test.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A server that answers each request with the same head.
async fn server(head: &str) -> Result<(String, Running)> {
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

#[tokio::test]
async fn requests_go_where_the_link_says_over_every_road() -> Result<()> {
    for road in ROADS {
        let of = Scene::start(road).await?;
        of.lattice
            .provide(0, "client", "http-client-provider", &[])
            .await?;
        let (other, _other) = server("200 OK").await?;
        let moved = format!("302 Found\r\nlocation: http://{other}/");
        let (named, _named) = server(&moved).await?;
        let rules = json!({"to": [format!("GET http://{named}/v1")]});
        of.link("client", HTTP, road, rules).await?;
        let answer = of.does("http", &["GET", "http", &named, "/v1/x"]).await?;
        // A redirect is the guest's to follow, and stands under the same rules then.
        ensure!(
            answer == format!("302 http://{other}/"),
            "{road:?}: {answer}"
        );
        for [method, scheme, authority, path] in [
            ["GET", "http", &other, "/"],
            ["POST", "http", &named, "/v1/x"],
            ["GET", "https", &named, "/v1/x"],
            ["GET", "http", &named, "/v2"],
            ["GET", "http", &named, "/v1/../v2"],
            ["GET", "http", "169.254.169.254", "/latest/meta-data/"],
        ] {
            let names = [method, scheme, authority, path];
            let told = of.refused("http", &names, "HttpRequestDenied").await;
            told.with_context(|| format!("{road:?}"))?;
        }
        let wanted = format!("`--to 'GET http://{other}'` would let it through");
        let denial = of.denial(&wanted).await?;
        ensure!(denial["code"] == "forbidden", "{denial}");
        of.link("client", HTTP, road, json!({"read_only": true}))
            .await?;
        of.does("http", &["GET", "http", &other, "/"]).await?;
        of.refused(
            "http",
            &["DELETE", "http", &other, "/"],
            "HttpRequestDenied",
        )
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_the_target_denies_is_an_event_that_names_the_grant() -> Result<()> {
    let of = Scene::start(Road::Socket).await?;
    of.lattice
        .provide(0, "client", "http-client-provider", &[])
        .await?;
    let (address, _server) = server("200 OK").await?;
    // As 1.x has it: anywhere, and only metadata services are shut.
    of.link("client", HTTP, Road::Socket, json!({})).await?;
    ensure!(of.does("http", &["GET", "http", &address, "/"]).await? == "200");
    for host in ["169.254.169.254", "[::ffff:169.254.169.254]", "2852039166"] {
        let names = ["GET", "http", host, "/latest/meta-data/secret"];
        of.refused("http", &names, "DestinationIpProhibited")
            .await?;
    }
    let denial = of.denial("`GET http://169.254.169.254`").await?;
    ensure!(denial["code"] == "forbidden", "{denial}");
    ensure!(!denial.to_string().contains("secret"), "{denial}");
    Ok(())
}

/// What a `wash` command prints, and whether it worked.
async fn wash(lattice: &Lattice, words: &[&str]) -> Result<(bool, String)> {
    let home = tempfile::tempdir()?;
    let mut command = Command::new(program("wash")?);
    command.args(words).env("HOME", home.path());
    command.env("WASMCLOUD_CTL_PORT", lattice.nats.port.to_string());
    let output = tokio::time::timeout(STEP, command.output()).await??;
    let text = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[tokio::test]
async fn wash_puts_rules_and_shows_them() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let put = "link put cart kv wasi:keyvalue/store --allow get,list-keys --prefix orders/ \
               --prefix carts/ --within shop --read-only --rate 100/s -o json";
    let words: Vec<&str> = put.split_whitespace().collect();
    let (worked, text) = wash(&lattice, &words).await?;
    ensure!(worked, "{text}");
    let rules = json!({
        "allow": ["get", "list-keys"], "read_only": true, "within": ["shop"],
        "prefix": ["orders/", "carts/"], "rate": "100/s",
    });
    let document: Value = serde_json::from_str(&text)?;
    ensure!(document["rules"] == rules, "{document}");
    let (_, text) = wash(&lattice, &["get", "links", "-o", "json"]).await?;
    let document: Value = serde_json::from_str(&text)?;
    ensure!(document["links"][0]["rules"] == rules, "{document}");
    let (_, text) = wash(&lattice, &["get", "links", "-o", "wide"]).await?;
    let shown = "allow get,list-keys; read-only; within shop; prefix orders/,carts/; rate 100/s";
    ensure!(text.contains("Rules") && text.contains(shown), "{text}");
    let meaningless = ["link", "put", "cart", "x", "my:own/thing", "--prefix", "a"];
    let (worked, text) = wash(&lattice, &meaningless).await?;
    ensure!(
        !worked && text.contains("`prefix` has no meaning for `my:own/thing`"),
        "{text}"
    );
    let without = ["link", "put", "cart", "kv", "wasi:keyvalue/store"];
    ensure!(wash(&lattice, &without).await?.0);
    let (_, text) = wash(&lattice, &["get", "links", "-o", "wide"]).await?;
    ensure!(!text.contains("Rules"), "{text}");
    Ok(())
}
