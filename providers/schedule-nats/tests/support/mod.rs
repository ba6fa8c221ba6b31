//! A lattice with copies of the provider, each a process of its own, and the components that
//! use it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    missing_docs,
    reason = "a part of each test binary, and in place of hosts"
)]

mod component;
#[path = "../../../lock-nats/tests/support/copies.rs"]
mod copies;

use std::ops::{Deref, DerefMut};

use async_nats::jetstream;
use copies::{Copies, Kind};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{LatticeName, StringMap};
use serde_json::Value;

#[allow(unused_imports, reason = "each test file uses a part")]
pub use component::{Component, Error, Job, Listening, Plan, Tick, Trigger};
pub use copies::PATIENCE;

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::error_impl_error,
    clippy::missing_errors_doc,
    clippy::wildcard_imports,
    reason = "generated from the WIT package"
)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:schedule-component;
            world component {
                import lattice:schedule/scheduler@0.1.0;
                export lattice:schedule/handler@0.1.0;
            }
        ",
        path: "../../interfaces/wit/lattice-schedule-0.1.0",
        world: "lattice:schedule-component/component",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

pub struct Lattice(Copies);

impl Deref for Lattice {
    type Target = Copies;

    fn deref(&self) -> &Copies {
        &self.0
    }
}

impl DerefMut for Lattice {
    fn deref_mut(&mut self) -> &mut Copies {
        &mut self.0
    }
}

impl Lattice {
    /// Runs one copy of the provider in `program`.
    pub async fn start(program: &'static str) -> Self {
        let kind = Kind {
            package: "schedule",
            called: "scheduler",
            calls: "handler",
        };
        Self(Copies::start(program, kind).await)
    }

    /// Puts a link from `source`; whether it works is left to [`Copies::report_of`].
    pub async fn put(&mut self, source: &str, name: &str, config: &[(&str, &str)]) -> Component {
        self.put_target(source, name, config).await;
        self.component(source, name)
    }

    /// As [`Lattice::put`], and waits until every copy has taken the link.
    pub async fn link(&mut self, source: &str, name: &str, config: &[(&str, &str)]) -> Component {
        let component = self.put(source, name, config).await;
        self.until_ready().await;
        component
    }

    /// The component `id`, linked or not.
    pub fn component(&self, id: &str, link_name: &str) -> Component {
        Component::new(&self.peer, &self.provider, id, link_name)
    }

    /// Puts a link through which the provider calls `target`.
    pub async fn put_handler(&mut self, target: &str, config: &[(&str, &str)]) {
        self.put_source(target, config).await;
    }

    /// Tells every copy its config, as its host would.
    pub async fn put_config(&self, config: &[(&str, &str)]) {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let config: StringMap = config.iter().map(owned).collect();
        let subjects = ProviderSubjects::new(&LatticeName::default(), &self.provider);
        let (subject, payload) = (subjects.config_update(), serde_json::to_vec(&config));
        let nats = self.peer.nats();
        nats.publish(subject, payload.unwrap().into())
            .await
            .unwrap();
    }

    /// What is stored under a key of a bucket.
    pub async fn stored(&self, bucket: &str, key: &str) -> Option<Value> {
        let client = self.nats.client().await.unwrap();
        let jobs = jetstream::new(client).get_key_value(bucket).await.unwrap();
        let value = jobs.get(key).await.unwrap()?;
        Some(serde_json::from_slice(&value).unwrap())
    }

    /// Serves `handler` as the component `id`.
    pub async fn listen(&self, id: &str) -> Listening {
        Listening::start(&self.peer, id).await
    }
}
