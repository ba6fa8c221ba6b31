//! What keeps values and blobs.

use lattice_services::Kind;
use serde_json::{Value, json};

use super::accounts::{aws, azure};
use super::backend::{Backend, and, url};
use crate::ground::Ground;

const MEMORY: &str = "it is the memory of the provider";
pub(super) const STAND_IN: &str = "its stand-in keeps all in memory";
pub(super) const LATE: &str = "its stand-in writes what it has every five seconds";

impl Backend {
    /// One that tells the component of changes.
    const fn watching(self) -> Self {
        Self {
            source_config: Some(watch),
            settings: watched,
            ..self
        }
    }

    /// One whose stand-in takes long for many objects.
    const fn slow(self) -> Self {
        Self {
            settings: fewer,
            ..self
        }
    }
}

pub(super) const KEY_VALUE: &[Backend] = &[
    Backend::nats("nats", "keyvalue-nats", "cluster_uri")
        .with(many_buckets)
        .watching(),
    Backend::of("redis", "keyvalue-redis", Kind::Redis, url).watching(),
    Backend {
        source_config: Some(watch_file),
        ..Backend::plain("sqlite", "keyvalue-sqlite")
            .with(file)
            .watching()
    },
    Backend::of("postgres", "keyvalue-postgres", Kind::Postgres, url).watching(),
    Backend::of("etcd", "keyvalue-etcd", Kind::Etcd, url).watching(),
    Backend::plain("memory", "keyvalue-memory")
        .with(many_buckets)
        .watching()
        .forgetting(MEMORY),
    Backend::nats("nats", "keyvalue-nats", "cluster_uri")
        .with(many_buckets)
        .watching()
        .on_old_nats("nats-2.9"),
];

/// The key whose changes are told.
const WATCHED: &str = "suite-watched";

fn watch(ground: &Ground) -> Value {
    let events = format!("SET@{WATCHED},DEL@{WATCHED}");
    and(url(ground), json!({ "watch": events }))
}

fn watch_file(ground: &Ground) -> Value {
    and(watch(ground), file(ground))
}

fn watched(_: &Ground) -> Vec<(String, String)> {
    vec![("watched".to_owned(), WATCHED.to_owned())]
}

/// A file of this run.
fn file(ground: &Ground) -> Value {
    json!({ "path": ground.folder("values.sqlite3") })
}

fn many_buckets(_: &Ground) -> Value {
    json!({ "enable_bucket_auto_create": "true" })
}

pub(super) const BLOBS: &[Backend] = &[
    Backend::plain("folder", "blobstore-fs").with(folder),
    Backend::nats("nats", "blobstore-nats", "cluster_uri").with(limited),
    Backend::of("s3", "blobstore-s3", Kind::Moto, aws_blobs)
        .slow()
        .forgetting(STAND_IN),
    Backend::of("azure", "blobstore-azure", Kind::Azurite, azure_blobs)
        .slow()
        .forgetting(LATE),
    Backend::plain("memory", "blobstore-memory")
        .with(limited)
        .forgetting(MEMORY),
    Backend::nats("nats", "blobstore-nats", "cluster_uri")
        .with(limited)
        .on_old_nats("nats-2.9"),
];

/// The largest object: more than a backend takes at once, and little enough to be tried.
fn limited(_: &Ground) -> Value {
    json!({ "max_object_bytes": (33 << 20).to_string() })
}

/// A folder of this run, beside what the lattice keeps.
pub(super) fn folder(ground: &Ground) -> Value {
    and(limited(ground), json!({ "root": ground.folder("blobs") }))
}

fn fewer(_: &Ground) -> Vec<(String, String)> {
    vec![("many".to_owned(), "1500".to_owned())]
}

fn azure_blobs(ground: &Ground) -> Value {
    and(azure(ground.port(0)), limited(ground))
}

fn aws_blobs(ground: &Ground) -> Value {
    and(aws(ground.port(0)), limited(ground))
}
