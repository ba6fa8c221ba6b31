//! The services that tests run against: found, started on free loopback ports, and ended.
//!
//! Each is the real program, out of Debian's packages or those of a language, with a folder of its
//! own that goes when the [`Service`] does. Nothing is mocked; a program that is missing is an
//! error that names the command which installs it.
//!
//! ```no_run
//! # async fn demo() -> anyhow::Result<()> {
//! use lattice_services::{Kind, Service};
//!
//! let mut redis = Service::start(Kind::Redis).await?;
//! println!("{}", redis.url());
//! redis.kill();
//! redis.start_again().await?; // same port, same data
//! # Ok(()) }
//! ```

mod azurite;
pub mod etcd;
mod kafka;
mod mariadb;
mod mosquitto;
mod moto;
mod nats;
mod postgres;
mod process;
mod programs;
mod rabbitmq;
mod recipe;
mod redis;

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;

use process::Group;
use recipe::Recipe;

/// How long a service may take until it answers: a broker in Erlang on a busy machine is slow.
const READY: Duration = Duration::from_secs(90);
/// How long the preparation of a data folder may take.
const PREPARED: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// A kind of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// NATS with JetStream.
    Nats,
    /// The same of version 2.9, as Debian has it.
    OldNats,
    /// Redis, without persistence.
    Redis,
    /// PostgreSQL with the database and the user `lattice`.
    Postgres,
    /// MariaDB with the database and the user `lattice`.
    MariaDb,
    /// One member of etcd.
    Etcd,
    /// RabbitMQ with its user `guest`.
    RabbitMq,
    /// Mosquitto, a broker of MQTT, with persistence.
    Mosquitto,
    /// moto, which speaks the protocols of S3 and SQS.
    Moto,
    /// Azurite, which speaks those of Azure's blobs, queues and tables.
    Azurite,
    /// Brokers of Kafka's protocol for tests, which keep nothing; built with `messaging-kafka`.
    Kafka,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Nats,
        Self::OldNats,
        Self::Redis,
        Self::Postgres,
        Self::MariaDb,
        Self::Etcd,
        Self::RabbitMq,
        Self::Mosquitto,
        Self::Moto,
        Self::Azurite,
        Self::Kafka,
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::OldNats => "nats-2.9",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
            Self::Etcd => "etcd",
            Self::RabbitMq => "rabbitmq",
            Self::Mosquitto => "mosquitto",
            Self::Moto => "moto",
            Self::Azurite => "azurite",
            Self::Kafka => "kafka",
        }
    }

    fn recipe(self, dir: &Path, ports: &[u16], delay: Duration) -> Result<Recipe> {
        match self {
            Self::Nats => nats::recipe(lattice_nats_box::find_server()?, dir, ports),
            Self::OldNats => nats::recipe(lattice_nats_box::find_old_server()?, dir, ports),
            Self::Redis => redis::recipe(dir, ports),
            Self::Postgres => postgres::recipe(dir, ports),
            Self::MariaDb => mariadb::recipe(dir, ports),
            Self::Etcd => etcd::recipe(dir, ports),
            Self::RabbitMq => rabbitmq::recipe(dir, ports),
            Self::Mosquitto => mosquitto::recipe(dir, ports),
            Self::Moto => moto::recipe(dir, ports),
            Self::Azurite => azurite::recipe(dir, ports),
            Self::Kafka => kafka::recipe(ports, delay),
        }
    }

    /// How many ports it listens at; clients connect to the first.
    fn ports(self) -> usize {
        match self {
            Self::Etcd => 2,
            Self::RabbitMq | Self::Azurite => 3,
            _ => 1,
        }
    }

    /// Where clients find one that listens at `port`.
    #[must_use]
    pub fn url(self, port: u16) -> String {
        match self {
            Self::Nats | Self::OldNats => format!("nats://127.0.0.1:{port}"),
            Self::Redis => format!("redis://127.0.0.1:{port}"),
            Self::Postgres => format!("postgres://lattice:lattice@127.0.0.1:{port}/lattice"),
            Self::MariaDb => format!("mysql://lattice:lattice@127.0.0.1:{port}/lattice"),
            Self::RabbitMq => format!("amqp://guest:guest@127.0.0.1:{port}/%2f"),
            Self::Mosquitto => format!("mqtt://127.0.0.1:{port}"),
            Self::Kafka => format!("127.0.0.1:{port}"),
            Self::Etcd | Self::Moto | Self::Azurite => format!("http://127.0.0.1:{port}"),
        }
    }
}

/// A running service. It ends when this is dropped, unless it was [detached](Service::detach).
#[derive(Debug)]
pub struct Service {
    kind: Kind,
    ports: Vec<u16>,
    /// How much later it answers.
    delay: Duration,
    processes: Vec<Group>,
    // After the processes, which write to it until they are gone.
    dir: Folder,
}

#[derive(Debug)]
enum Folder {
    Own(TempDir),
    Given(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Own(dir) => dir.path(),
            Self::Given(path) => path,
        }
    }
}

impl Service {
    /// Starts one in a folder of its own and waits until it answers.
    ///
    /// # Errors
    ///
    /// Fails when its program is missing, with the command that installs it, and with its log when
    /// it does not get ready.
    pub async fn start(kind: Kind) -> Result<Self> {
        let mut service = Self::reserve(kind)?;
        service.start_again().await?;
        Ok(service)
    }

    /// Starts brokers of Kafka that answer so much later: their clients go where they tell them, past all
    /// that stands before their port.
    ///
    /// # Errors
    ///
    /// As [`Service::start`], and for every other kind.
    pub async fn start_slow(kind: Kind, by: Duration) -> Result<Self> {
        ensure!(kind == Kind::Kafka, "{} is not slow itself", kind.name());
        let mut service = Self::reserve(kind)?;
        service.delay = by;
        service.start_again().await?;
        Ok(service)
    }

    /// Chooses ports and a folder without starting anything.
    ///
    /// # Errors
    ///
    /// Fails when there is no port or no folder.
    pub fn reserve(kind: Kind) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("lattice-service-")
            .tempdir()?;
        Self::new(kind, Folder::Own(dir))
    }

    /// Chooses ports for one that keeps its data in a folder.
    ///
    /// # Errors
    ///
    /// Fails when there is no port, or the folder cannot be made.
    pub fn reserve_in(kind: Kind, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not create `{}`", folder.display()))?;
        Self::new(kind, Folder::Given(folder.to_owned()))
    }

    fn new(kind: Kind, dir: Folder) -> Result<Self> {
        let ports: std::io::Result<Vec<u16>> = (0..kind.ports())
            .map(|_| lattice_nats_box::free_port())
            .collect();
        Ok(Self {
            kind,
            ports: ports?,
            delay: Duration::ZERO,
            processes: Vec::new(),
            dir,
        })
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        self.kind.url(self.port())
    }

    /// The port that clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// All ports it listens at, in the order of its kind: Azurite has blobs, queues and tables.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Kills it, as a machine that loses its power would. Mosquitto confirms messages that it has yet to
    /// save, so that a kill loses some whoever its clients are: it is asked to end, and killed after that.
    pub fn kill(&mut self) {
        if self.kind == Kind::Mosquitto {
            self.processes.iter_mut().for_each(Group::end);
        }
        self.processes.clear();
    }

    /// Stops it in mid-air: it keeps its connections and answers nothing.
    ///
    /// # Errors
    ///
    /// Fails when it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.processes.iter().try_for_each(Group::freeze)
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// Fails when it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.processes.iter().try_for_each(Group::thaw)
    }

    /// Starts it, again if it was killed, with the same ports and the data that is there.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub async fn start_again(&mut self) -> Result<()> {
        self.kill();
        let recipe = self.kind.recipe(self.dir.path(), &self.ports, self.delay)?;
        recipe.own_folder(self.dir.path())?;
        let prepared = self.dir.path().join("prepared");
        if !prepared.exists() {
            for command in &recipe.prepare {
                self.run(&recipe, command).await?;
            }
            File::create(&prepared)?;
        }
        for command in recipe.beside.iter().chain([&recipe.command]) {
            let log = self.log_file();
            self.processes
                .push(Group::spawn(recipe.command_of(command)?, &log)?);
        }
        self.until_ready(&recipe).await?;
        let finished = self.dir.path().join("finished");
        if !finished.exists() {
            for command in &recipe.finish {
                self.run(&recipe, command).await?;
            }
            File::create(&finished)?;
        }
        Ok(())
    }

    /// Runs a command of the preparation to its end.
    async fn run(&self, recipe: &Recipe, command: &recipe::Line) -> Result<()> {
        let log = self.log_file();
        let mut group = Group::spawn(recipe.command_of(command)?, &log)?;
        let until = Instant::now() + PREPARED;
        loop {
            if let Some(status) = group.ended()? {
                ensure!(
                    status.success(),
                    "could not prepare {}: {status}\n{}",
                    self.kind.name(),
                    self.log()
                );
                return Ok(());
            }
            if Instant::now() > until {
                bail!(
                    "{} is not prepared in time\n{}",
                    self.kind.name(),
                    self.log()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn until_ready(&mut self, recipe: &Recipe) -> Result<()> {
        let until = Instant::now() + READY;
        let name = self.kind.name();
        loop {
            if let Some(main) = self.processes.last_mut()
                && let Some(status) = main.ended()?
            {
                bail!("{name} ended at once: {status}\n{}", self.log());
            }
            let port = self.port();
            if answers(port, recipe.greeting).await && self.rest_listens(recipe).await {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{name} does not answer at port {port}\n{}", self.log());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it takes connections at its other ports, where clients use them.
    async fn rest_listens(&self, recipe: &Recipe) -> bool {
        let mut rest = self.ports[1..].iter().filter(|_| recipe.all_ports);
        loop {
            match rest.next() {
                None => return true,
                Some(port) if answers(*port, Greeting::Connects).await => {}
                Some(_) => return false,
            }
        }
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("service.log")
    }

    /// What it wrote, for a person.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Lets it live on when this is dropped; gives the ids of its process groups.
    #[must_use]
    pub fn detach(mut self) -> Vec<i32> {
        let groups = std::mem::take(&mut self.processes);
        groups.into_iter().map(Group::detach).collect()
    }
}

/// What tells that a service is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Greeting {
    /// It takes a connection.
    Connects,
    /// It says something to whoever connects, or after these bytes.
    Speaks(&'static [u8]),
    /// What it says after these bytes begins with this one.
    Says(&'static [u8], u8),
}

/// Whether a service answers.
async fn answers(port: u16, greeting: Greeting) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let ask = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let (first, wanted) = match greeting {
            Greeting::Connects => return Ok(true),
            Greeting::Speaks(first) => (first, None),
            Greeting::Says(first, wanted) => (first, Some(wanted)),
        };
        stream.write_all(first).await?;
        let mut byte = [0];
        let spoke = stream.read(&mut byte).await? == 1;
        std::io::Result::Ok(spoke && wanted.is_none_or(|wanted| wanted == byte[0]))
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), ask).await;
    matches!(answer, Ok(Ok(true)))
}

/// Starts `command` with nothing of this process but its environment.
pub(crate) fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(std::process::Stdio::null());
    command
}
