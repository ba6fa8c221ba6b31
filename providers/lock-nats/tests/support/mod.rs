//! A lattice with copies of one lock provider, each a process of its own, and the components that
//! use it. The tests of all lock providers share this.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    missing_docs,
    reason = "a part of each test binary, and in place of hosts"
)]

pub mod cases;
mod component;
mod copies;
mod leader;

use std::ops::{Deref, DerefMut};

use copies::{Copies, Kind};

pub use component::{Component, Error, Lease};
pub use copies::PATIENCE;
pub use leader::Leader;

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
            package lattice:lock-component;
            world component {
                import lattice:lock/lock@0.1.0;
                export lattice:lock/leader@0.1.0;
            }
        ",
        path: "../../interfaces/wit/lattice-lock-0.1.0",
        world: "lattice:lock-component/component",
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
            package: "lock",
            called: "lock",
            calls: "leader",
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

    /// Puts a link through which the provider campaigns for `target`.
    pub async fn put_leader(&mut self, target: &str, config: &[(&str, &str)]) {
        self.put_source(target, config).await;
    }

    /// Serves `leader` as the component `id`.
    pub async fn leader(&self, id: &str) -> Leader {
        Leader::start(&self.peer, id).await
    }

    /// As [`Lattice::leader`], for a component that has no room for any call.
    pub async fn full_leader(&self, id: &str) -> Leader {
        Leader::start_full(&self.peer, id).await
    }
}
