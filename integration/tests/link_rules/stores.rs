//! What is read and written in stores, and how often.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::scene::{KEYVALUE, ROADS, Scene};

const BLOBS: &str = "wasi:blobstore/blobstore,container";

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
