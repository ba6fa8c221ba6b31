//! RabbitMQ, which needs a name server of Erlang beside it.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::Greeting;
use crate::programs::{find, newest};
use crate::recipe::{Line, Recipe, text};

/// A message that a full queue has refused is tried again after two seconds, not three minutes.
const ADVANCED: &str = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 2000}]}].\n";

pub(crate) fn recipe(dir: &Path, ports: &[u16]) -> Result<Recipe> {
    let [amqp, distribution, names] = [ports[0], ports[1], ports[2]].map(|port| port.to_string());
    // The script in the search path changes its user; the one of the version does not.
    let folder = newest("/usr/lib/rabbitmq/lib", "rabbitmq_server-");
    let folder = folder.map(|folder| text(&folder.join("sbin")));
    let folders: Vec<&str> = folder.as_deref().into_iter().collect();
    let server = Line::new(find("rabbitmq-server", &folders)?, &[]);
    let mut recipe = Recipe::of(server, Greeting::Speaks(b"AMQP\0\0\x09\x01"));
    recipe.beside = vec![Line::new(
        find("epmd", &[])?,
        &["-port", &names, "-address", "127.0.0.1"],
    )];
    let plugins = dir.join("enabled_plugins");
    std::fs::write(&plugins, "[].\n").context("could not write the list of plugins")?;
    let advanced = dir.join("advanced.config");
    std::fs::write(&advanced, ADVANCED).context("could not write the configuration")?;
    let own = |name: &str| text(&dir.join(name));
    recipe.environment = [
        ("RABBITMQ_NODENAME", format!("lattice-{amqp}@localhost")),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_NODE_PORT", amqp.clone()),
        ("RABBITMQ_DIST_PORT", distribution),
        ("ERL_EPMD_PORT", names),
        ("RABBITMQ_MNESIA_BASE", own("mnesia")),
        ("RABBITMQ_LOG_BASE", own("log")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", text(&plugins)),
        ("RABBITMQ_CONF_ENV_FILE", own("no-such-file")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", text(&advanced)),
        ("HOME", text(dir)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    Ok(recipe)
}
