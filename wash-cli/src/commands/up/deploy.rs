//! Starting the components that `wash up` is given, with their default providers and links.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use lattice_core::link::{LinkState, carries, lookup_name};
use lattice_core::{ConfigName, Link, Locality, StringMap};
use tokio::time::Instant;

use super::apps::{App, Running};
use super::defaults::{Backends, Place, Side, Wanted, plan};
use super::secure::Secure;
use crate::commands::{link, start};
use crate::connection::{Gone, Lattice, Search};
use crate::error::{CliError, Code, Result};
use crate::lattice_dir::{LatticeDir, create_folder};
use crate::output::Ui;
use crate::resolve;

/// Ports for HTTP: the usual one, and those to fall forward to.
const PORTS: std::ops::Range<u16> = 8000..8100;
/// How many calls a component takes at once.
const INSTANCES: u32 = 10;
/// How long providers may take to say what they make of their links.
const REPORTS: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Starts components with their default providers and puts the links that are missing.
pub(super) async fn start(
    apps: &[App],
    lattice: &Lattice,
    dir: &LatticeDir,
    secure: Option<&Secure>,
    ui: &Ui,
) -> Result<Vec<Running>> {
    if apps.is_empty() {
        return Ok(Vec::new());
    }
    let mut deployment = Deployment::look(lattice, dir).await?;
    deployment.backends = secure.map(Secure::backends).unwrap_or_default();
    let mut running = Vec::with_capacity(apps.len());
    for app in apps {
        let _spinner = ui.spinner(format!("Starting {}", app.id));
        running.push(deployment.start(app).await?);
    }
    deployment.until_taken().await?;
    Ok(running)
}

/// What there is in the lattice while components are added.
struct Deployment<'a> {
    lattice: &'a Lattice,
    dir: &'a LatticeDir,
    links: Vec<Link>,
    /// The components that run, by id and image.
    components: BTreeSet<(String, String)>,
    /// The providers that run.
    providers: BTreeSet<String>,
    /// Links that have to be taken by their provider in the end.
    own: Vec<Link>,
    /// Ports that links say, whether or not their provider runs.
    ports: BTreeSet<u16>,
    backends: Backends,
}

impl<'a> Deployment<'a> {
    async fn look(lattice: &'a Lattice, dir: &'a LatticeDir) -> Result<Self> {
        let inventories = lattice.look_at(None, Search::Quick).await?;
        let (mut components, mut providers) = (BTreeSet::new(), BTreeSet::new());
        for host in inventories {
            let here = host.components.into_iter();
            components.extend(here.map(|component| (component.id, component.image_ref)));
            providers.extend(host.providers.into_iter().map(|provider| provider.id));
        }
        let mut deployment = Self {
            links: links(lattice).await?,
            lattice,
            dir,
            components,
            providers,
            own: Vec::new(),
            ports: BTreeSet::new(),
            backends: Backends::new(),
        };
        for link in &deployment.links {
            let port = deployment.url_of(link).await.and_then(|url| port_of(&url));
            deployment.ports.extend(port);
        }
        Ok(deployment)
    }

    async fn start(&mut self, app: &App) -> Result<Running> {
        let data = self.dir.root().join("data");
        let place = Place {
            data: &data,
            component: app.id.as_str(),
            provider: "",
            port: free_port(&self.ports)?,
            backends: &self.backends,
        };
        let plan = plan(&app.world.imports, &app.world.exports, &place);
        self.run(app).await?;
        let mut running = Running {
            id: app.id.to_string(),
            url: None,
            links: Vec::new(),
            left: plan.left,
        };
        for wanted in plan.links {
            let link = self.link(app, &wanted).await?;
            let has = |name: &&&str| !carries(&link.interfaces, name);
            let missing = wanted.interfaces.iter().filter(has);
            let package = wanted.name();
            running
                .left
                .extend(missing.map(|name| format!("{package}/{name}")));
            running
                .links
                .push((wanted.name(), provider_of(&link, wanted.side).to_owned()));
            if wanted.provider == "http-server" {
                running.url = self.url_of(&link).await;
            }
        }
        Ok(running)
    }

    /// Starts a component. One that runs keeps the configs and the count that it was given since.
    async fn run(&self, app: &App) -> Result<()> {
        let own = (app.id.to_string(), app.image.clone());
        if self.components.contains(&own) {
            return Ok(());
        }
        let wanted = start::component::Wanted {
            id: &app.id,
            image: &app.image,
            count: INSTANCES,
            config: Vec::new(),
            allow_update: false,
        };
        let any = start::Auction::any();
        start::component::start(self.lattice, &any, wanted).await?;
        Ok(())
    }

    /// The link in this place, which is put unless there is one: that stays as it is, and so that it
    /// leads somewhere again after a `down`, its provider is started if it is one of the defaults.
    async fn link(&mut self, app: &App, wanted: &Wanted) -> Result<Link> {
        let is_there = |link: &&Link| is_in_place(link, app, wanted);
        if let Some(there) = self.links.iter().find(is_there).cloned() {
            if provider_of(&there, wanted.side) == wanted.provider {
                self.provide(wanted.provider).await?;
                self.own.push(there.clone());
            }
            return Ok(there);
        }
        let link = self.put_config(app, wanted).await?;
        self.provide(wanted.provider).await?;
        let put = self.lattice.client.put_link(&link).await;
        let what = format!("could not link `{}` to `{}`", link.source_id, link.target);
        put.map_err(|error| self.lattice.explain(what, &error))?;
        let port = self.url_of(&link).await.and_then(|url| port_of(&url));
        self.ports.extend(port);
        self.own.push(link.clone());
        Ok(link)
    }

    /// The link with its config stored.
    async fn put_config(&self, app: &App, wanted: &Wanted) -> Result<Link> {
        let mut names = Vec::new();
        if !wanted.settings.is_empty() {
            let name = config_name(app, wanted)?;
            let mut values = StringMap::new();
            for (key, value) in &wanted.settings {
                if *key == "root" {
                    create_folder(Path::new(value))?;
                }
                values.insert((*key).to_owned(), value.clone());
            }
            let put = self.lattice.client.put_config(&name, &values).await;
            let what = format!("could not store the config `{name}`");
            put.map_err(|error| self.lattice.explain(what, &error))?;
            names.push(name.to_string());
        }
        let (component, provider) = (app.id.to_string(), wanted.provider.to_owned());
        // A provider has one link of a name for all components that it calls.
        let (name, source_id, target, source_config, target_config) = match wanted.side {
            Side::Import => ("default".to_owned(), component, provider, Vec::new(), names),
            Side::Export => (component.clone(), provider, component, names, Vec::new()),
        };
        let interfaces = wanted.interfaces.iter();
        Ok(Link {
            source_id,
            target,
            name,
            wit_namespace: wanted.namespace.to_owned(),
            wit_package: wanted.package.to_owned(),
            interfaces: interfaces.map(|name| (*name).to_owned()).collect(),
            source_config,
            target_config,
            locality: Locality::default(),
            rules: lattice_core::LinkRules::default(),
            status: Vec::new(),
        })
    }

    /// Starts a provider under its own name if it does not run.
    async fn provide(&mut self, name: &str) -> Result<()> {
        if self.providers.contains(name) {
            return Ok(());
        }
        let id = resolve::entity_id(name)?;
        let image = format!("builtin://{name}");
        let any = start::Auction::any();
        start::provider::start(self.lattice, &any, &id, &image, Vec::new()).await?;
        self.providers.insert(name.to_owned());
        Ok(())
    }

    /// Where a link has HTTP answered, as far as its config says it.
    async fn url_of(&self, link: &Link) -> Option<String> {
        for name in &link.source_config {
            let name = ConfigName::new(name).ok()?;
            let config = self.lattice.client.config(&name).await.ok().flatten();
            let address = config.and_then(|config| config.get("address").cloned());
            if let Some(address) = address {
                let address = address.replace("127.0.0.1", "localhost");
                return Some(format!("http://{address}"));
            }
        }
        None
    }

    /// Waits until the providers have taken the links that were put here.
    async fn until_taken(&self) -> Result<()> {
        let until = Instant::now() + REPORTS;
        let mut gone = Gone::default();
        loop {
            let mut links = links(self.lattice).await?;
            let is =
                |one: &Link, other: &Link| one.key() == other.key() && one.target == other.target;
            links.retain(|link| self.own.iter().any(|own| is(own, link)));
            gone.leave_out(self.lattice, &mut links).await;
            let told: Vec<_> = links.iter().map(|link| &link.status).collect();
            let is_ready = |state: LinkState| state == LinkState::Ready;
            let ready = told
                .iter()
                .filter(|told| told.iter().any(|end| is_ready(end.state)));
            if ready.count() >= self.own.len() {
                return Ok(());
            }
            let failed: Vec<_> = told
                .into_iter()
                .flatten()
                .filter(|end| end.state == LinkState::Failed)
                .collect();
            if Instant::now() < until {
                tokio::time::sleep(PAUSE).await;
            } else if failed.is_empty() {
                let text = "the providers do not say whether they take their links";
                return Err(CliError::new(Code::Timeout, text)
                    .hint("`wash get links` shows how far they are"));
            } else {
                return Err(link::refused(&failed, serde_json::Map::new()));
            }
        }
    }
}

async fn links(lattice: &Lattice) -> Result<Vec<Link>> {
    let links = lattice.client.links().await;
    links.map_err(|error| lattice.explain("could not read the links", &error))
}

/// The provider at the other end than the component.
fn provider_of(link: &Link, component: Side) -> &str {
    match component {
        Side::Import => &link.target,
        Side::Export => &link.source_id,
    }
}

/// Whether a link does already what one is wanted for.
fn is_in_place(link: &Link, app: &App, wanted: &Wanted) -> bool {
    let is_own = match wanted.side {
        Side::Import => link.source_id == app.id.as_str() && link.name == "default",
        Side::Export => link.target == app.id.as_str(),
    };
    let is_wanted = |name: &String| wanted.interfaces.contains(&lookup_name(name));
    is_own
        && link.wit_namespace == wanted.namespace
        && link.wit_package == wanted.package
        && link.interfaces.iter().any(is_wanted)
}

/// The config that the link of a component to a provider has.
fn config_name(app: &App, wanted: &Wanted) -> Result<ConfigName> {
    let end = match wanted.side {
        Side::Import => "",
        Side::Export => "-handler",
    };
    let name = format!("{}-{}{end}", app.id, wanted.provider);
    ConfigName::new(&name).map_err(|error| {
        let text = format!("`{name}` is no name for a config");
        CliError::new(Code::Usage, text).caused_by(&error)
    })
}

/// A port for HTTP that nobody listens at and no link says.
fn free_port(said: &BTreeSet<u16>) -> Result<u16> {
    let is_free =
        |port: &u16| !said.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = PORTS;
    ports.find(is_free).ok_or_else(|| {
        let text = format!("all ports from {} to {} are taken", PORTS.start, PORTS.end);
        CliError::new(Code::PortTaken, text).hint("end what listens at one of them")
    })
}

/// The port at the end of an address.
fn port_of(url: &str) -> Option<u16> {
    url.rsplit(':').next()?.parse().ok()
}
