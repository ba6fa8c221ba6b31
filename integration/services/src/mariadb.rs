//! MariaDB.

use std::path::Path;

use anyhow::Result;

use crate::Greeting;
use crate::programs::find;
use crate::recipe::{Line, Recipe, text};

const SETUP: &str = "CREATE DATABASE lattice; CREATE USER lattice@'127.0.0.1' IDENTIFIED BY 'lattice'; \
                     GRANT ALL ON *.* TO lattice@'127.0.0.1'";

pub(crate) fn recipe(dir: &Path, ports: &[u16]) -> Result<Recipe> {
    let folders = ["/usr/sbin", "/usr/bin"];
    let data = format!("--datadir={}", text(&dir.join("data")));
    let socket = format!("--socket={}", text(&dir.join("mariadb.sock")));
    let port = format!("--port={}", ports[0]);
    // Servers that start at once would clear away each other's tables in a shared folder.
    let own = format!("--tmpdir={}", text(dir));
    let server = Line::new(
        find("mariadbd", &folders)?,
        &[
            "--no-defaults",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
            &data,
            &port,
            &socket,
            &own,
        ],
    );
    let mut recipe = Recipe::of(server, Greeting::Speaks(b""));
    recipe.prepare = vec![Line::new(
        find("mariadb-install-db", &folders)?,
        &[
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            &data,
            &own,
        ],
    )];
    recipe.finish = vec![Line::new(
        find("mariadb", &folders)?,
        &["--no-defaults", &socket, "--user=root", "--execute", SETUP],
    )];
    recipe.user = Some("mysql");
    Ok(recipe)
}
