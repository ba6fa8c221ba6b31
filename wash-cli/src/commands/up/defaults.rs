//! What the imports and exports of a component are linked to when `wash up` starts it: the first
//! provider of each capability, all of which are inside the host and need nothing besides NATS.

use std::collections::BTreeMap;
use std::path::Path;

/// Which end of a link the component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// It calls the provider.
    Import,
    /// The provider calls it.
    Export,
}

/// The provider that stands for an interface.
#[derive(Debug)]
struct Default {
    side: Side,
    /// The package that components name.
    package: &'static str,
    /// The interfaces of it that are called over links.
    interfaces: &'static [&'static str],
    /// The package of the link, and its interfaces where they have other names.
    link: (&'static str, &'static [&'static str]),
    /// The provider, after `builtin://`.
    provider: &'static str,
    /// What the link says.
    settings: fn(&Place<'_>) -> Vec<(&'static str, String)>,
}

/// What links say whose backend is the lattice's NATS server, by provider.
pub(super) type Backends = BTreeMap<&'static str, Vec<(&'static str, String)>>;

/// What settings may depend on.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// Where providers may keep files of this lattice.
    pub(super) data: &'a Path,
    /// The id of the component.
    pub(super) component: &'a str,
    /// The provider at the other end.
    pub(super) provider: &'a str,
    /// A port for HTTP that nobody has.
    pub(super) port: u16,
    pub(super) backends: &'a Backends,
}

/// A link that a component gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) side: Side,
    pub(super) namespace: &'static str,
    pub(super) package: &'static str,
    pub(super) interfaces: Vec<&'static str>,
    pub(super) provider: &'static str,
    pub(super) settings: Vec<(&'static str, String)>,
}

impl Wanted {
    /// `wasi:keyvalue`, as people write it.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.namespace, self.package)
    }
}

/// What is linked, and what only a user can link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    pub(super) links: Vec<Wanted>,
    /// Interfaces without a default.
    pub(super) left: Vec<String>,
}

/// Those that keep things in the lattice's NATS server, or say them there.
pub(super) const ON_NATS: [&str; 5] = [
    "keyvalue-nats",
    "messaging-nats",
    "queue-nats",
    "lock-nats",
    "schedule-nats",
];

const SAME: &[&str] = &[];
/// What every shape of messaging is on the wire.
const CONSUMER: (&str, &[&str]) = ("wasmcloud:messaging", &["consumer"]);
const HANDLER: (&str, &[&str]) = ("wasmcloud:messaging", &["handler"]);

const DEFAULTS: &[Default] = &[
    import(
        "wasi:keyvalue",
        &["store", "atomics", "batch", "cas"],
        "keyvalue-nats",
    ),
    import("lattice:keyvalue", &["store", "atomics"], "keyvalue-nats"),
    Default {
        settings: folder,
        ..import(
            "wasi:blobstore",
            &["blobstore", "container", "types"],
            "blobstore-fs",
        )
    },
    Default {
        link: CONSUMER,
        ..import(
            "wasmcloud:messaging",
            &["consumer", "producer", "request-reply"],
            "messaging-nats",
        )
    },
    Default {
        link: CONSUMER,
        ..import(
            "wasi:messaging",
            &["producer", "request-reply"],
            "messaging-nats",
        )
    },
    import("lattice:messaging", &["producer"], "messaging-nats"),
    Default {
        settings: any_queue,
        ..import("lattice:queue", &["producer", "consumer"], "queue-nats")
    },
    Default {
        settings: folder,
        ..import("lattice:sql", &["sql"], "sqldb-sqlite")
    },
    import("lattice:lock", &["lock"], "lock-nats"),
    import("wasi:distributed-lock", &["locker"], "lock-nats"),
    import("lattice:schedule", &["scheduler"], "schedule-nats"),
    import("wasi:http", &["outgoing-handler"], "http-client"),
    Default {
        side: Side::Export,
        settings: address,
        ..import("wasi:http", &["incoming-handler"], "http-server")
    },
    Default {
        side: Side::Export,
        link: HANDLER,
        settings: subjects,
        ..import(
            "wasmcloud:messaging",
            &["handler", "incoming-handler"],
            "messaging-nats",
        )
    },
    Default {
        side: Side::Export,
        link: HANDLER,
        settings: subjects,
        ..import("wasi:messaging", &["incoming-handler"], "messaging-nats")
    },
    Default {
        side: Side::Export,
        settings: subjects,
        ..import("lattice:messaging", &["handler"], "messaging-nats")
    },
    Default {
        side: Side::Export,
        settings: own_queue,
        ..import("lattice:queue", &["handler"], "queue-nats")
    },
];

const fn import(
    package: &'static str,
    interfaces: &'static [&'static str],
    provider: &'static str,
) -> Default {
    Default {
        side: Side::Import,
        package,
        interfaces,
        link: (package, SAME),
        provider,
        settings: nothing,
    }
}

/// What a link of a default says.
fn settings(default: &Default, place: &Place<'_>) -> Vec<(&'static str, String)> {
    let mut settings = (default.settings)(&Place {
        provider: default.provider,
        ..*place
    });
    let backend = place.backends.get(default.provider);
    settings.extend(backend.into_iter().flatten().cloned());
    settings
}

fn nothing(_: &Place<'_>) -> Vec<(&'static str, String)> {
    Vec::new()
}

/// A folder that outlives the lattice.
fn folder(place: &Place<'_>) -> Vec<(&'static str, String)> {
    let root = place.data.join(place.component).join(place.provider);
    vec![("root", root.display().to_string())]
}

fn any_queue(_: &Place<'_>) -> Vec<(&'static str, String)> {
    vec![("create", "true".to_owned())]
}

fn own_queue(place: &Place<'_>) -> Vec<(&'static str, String)> {
    vec![("queue", place.component.to_owned())]
}

fn subjects(place: &Place<'_>) -> Vec<(&'static str, String)> {
    let id = place.component;
    vec![("subscriptions", format!("{id},{id}.>"))]
}

fn address(place: &Place<'_>) -> Vec<(&'static str, String)> {
    vec![("address", format!("127.0.0.1:{}", place.port))]
}

/// What the host itself answers, or what only names types.
fn needs_no_link(package: &str, interface: &str) -> bool {
    const HOST: [&str; 9] = [
        "wasi:io",
        "wasi:clocks",
        "wasi:random",
        "wasi:cli",
        "wasi:filesystem",
        "wasi:sockets",
        "wasi:config",
        "wasi:logging",
        "wasmcloud:bus",
    ];
    // Whoever puts the jobs is told of them, through the same link.
    let is_told = (package, interface) == ("lattice:schedule", "handler");
    HOST.contains(&package) || interface == "types" || package == "wasmcloud:secrets" || is_told
}

/// The links for what a component imports and exports, by name as in `wasi:keyvalue/store@0.2.0`.
pub(super) fn plan(imports: &[String], exports: &[String], place: &Place<'_>) -> Plan {
    let sides = [(Side::Import, imports), (Side::Export, exports)];
    let mut plan = Plan::default();
    for (side, names) in sides {
        for (package, interfaces) in by_package(names) {
            plan.add(side, package, interfaces, place);
        }
    }
    plan.links.sort_by_key(Wanted::name);
    plan
}

impl Plan {
    fn add(&mut self, side: Side, package: &str, interfaces: Vec<&str>, place: &Place<'_>) {
        let found = DEFAULTS.iter().find(|default| {
            let serves = |name: &&str| default.interfaces.contains(name);
            default.side == side && default.package == package && interfaces.iter().any(serves)
        });
        let served = found.map_or(SAME, |default| default.interfaces);
        let rest = interfaces
            .iter()
            .filter(|name| !served.contains(name) && !needs_no_link(package, name));
        self.left
            .extend(rest.map(|name| format!("{package}/{name}")));
        let Some(default) = found else { return };
        let (link, renamed) = default.link;
        let Some((namespace, package)) = link.split_once(':') else {
            return;
        };
        let kept = |name: &&&str| interfaces.contains(*name);
        self.link(Wanted {
            side,
            namespace,
            package,
            interfaces: match renamed {
                [] => served.iter().filter(kept).copied().collect(),
                renamed => renamed.to_vec(),
            },
            provider: default.provider,
            settings: settings(default, place),
        });
    }

    /// Several shapes of one package may come to the same link.
    fn link(&mut self, wanted: Wanted) {
        if !self.links.contains(&wanted) {
            self.links.push(wanted);
        }
    }
}

/// Interfaces by package, without versions; functions and interfaces without a package are the
/// business of whoever composes components.
fn by_package(names: &[String]) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let Some((package, rest)) = name.split_once('/') else {
            continue;
        };
        let interface = rest
            .split_once('@')
            .map_or(rest, |(interface, _)| interface);
        let interfaces = found.entry(package).or_default();
        if !interfaces.contains(&interface) {
            interfaces.push(interface);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(imports: &[&str], exports: &[&str]) -> Plan {
        planned_with(&Backends::new(), imports, exports)
    }

    fn planned_with(backends: &Backends, imports: &[&str], exports: &[&str]) -> Plan {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let place = Place {
            data: Path::new("/data"),
            component: "cart",
            provider: "",
            port: 8003,
            backends,
        };
        plan(&owned(imports), &owned(exports), &place)
    }

    fn written(plan: &Plan) -> Vec<String> {
        let links = plan.links.iter().map(|link| {
            let settings = link
                .settings
                .iter()
                .map(|(key, value)| format!(" {key}={value}"));
            let side = if link.side == Side::Import {
                "->"
            } else {
                "<-"
            };
            let (name, list) = (link.name(), link.interfaces.join(","));
            format!(
                "{side} {} {name}/{list}{}",
                link.provider,
                settings.collect::<String>()
            )
        });
        links.collect()
    }

    #[test]
    fn each_package_is_linked_to_its_first_provider() {
        let plan = planned(
            &[
                "wasi:io/streams@0.2.6",
                "wasi:keyvalue/store@0.2.0-draft",
                "wasi:keyvalue/atomics@0.2.0-draft",
                "wasi:logging/logging",
                "wasi:http/types@0.2.6",
                "wasi:http/outgoing-handler@0.2.6",
                "lattice:sql/types@0.1.0",
                "lattice:sql/sql@0.1.0",
            ],
            &[
                "wasi:http/incoming-handler@0.2.6",
                "wasmcloud:messaging/handler@0.2.0",
            ],
        );
        assert_eq!(
            written(&plan),
            [
                "-> sqldb-sqlite lattice:sql/sql root=/data/cart/sqldb-sqlite",
                "-> http-client wasi:http/outgoing-handler",
                "<- http-server wasi:http/incoming-handler address=127.0.0.1:8003",
                "-> keyvalue-nats wasi:keyvalue/store,atomics",
                "<- messaging-nats wasmcloud:messaging/handler subscriptions=cart,cart.>",
            ]
        );
        assert_eq!(plan.left, Vec::<String>::new());
    }

    #[test]
    fn both_shapes_of_messaging_are_one_link() {
        let plan = planned(
            &[
                "wasi:messaging/producer@0.2.0-draft",
                "wasmcloud:messaging/consumer@0.2.0",
            ],
            &[],
        );
        assert_eq!(
            written(&plan),
            ["-> messaging-nats wasmcloud:messaging/consumer"]
        );
    }

    #[test]
    fn what_has_no_default_is_told() {
        let plan = planned(
            &[
                "wasmcloud:postgres/query@0.1.1-draft",
                "acme:own/thing@1.0.0",
                "run",
            ],
            &["wasi:keyvalue/watcher@0.2.0-draft", "wasi:cli/run@0.2.6"],
        );
        assert_eq!(written(&plan), Vec::<String>::new());
        let left = [
            "acme:own/thing",
            "wasmcloud:postgres/query",
            "wasi:keyvalue/watcher",
        ];
        assert_eq!(plan.left, left);
    }

    #[test]
    fn what_a_link_says_of_its_backend_is_that_of_its_provider() {
        let user = |id: &'static str| (id, vec![("client_creds_file", format!("{id}.creds"))]);
        let backends = Backends::from(ON_NATS.map(user));
        let imports = [
            "wasi:keyvalue/store",
            "lattice:lock/lock",
            "wasi:http/outgoing-handler",
        ];
        assert_eq!(
            written(&planned_with(&backends, &imports, &[])),
            [
                "-> lock-nats lattice:lock/lock client_creds_file=lock-nats.creds",
                "-> http-client wasi:http/outgoing-handler",
                "-> keyvalue-nats wasi:keyvalue/store client_creds_file=keyvalue-nats.creds",
            ]
        );
    }

    #[test]
    fn every_default_is_a_provider_of_this_program() {
        let inside: Vec<_> = lattice_host_program::builtins().names().collect();
        for default in DEFAULTS {
            assert!(inside.contains(&default.provider), "{}", default.provider);
        }
    }
}
