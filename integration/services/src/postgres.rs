//! PostgreSQL.

use std::path::Path;

use anyhow::Result;

use crate::Greeting;
use crate::programs::{find, newest};
use crate::recipe::{Line, Recipe, text};

pub(crate) fn recipe(dir: &Path, ports: &[u16]) -> Result<Recipe> {
    let newest = newest("/usr/lib/postgresql", "").map(|folder| text(&folder.join("bin")));
    let folders: Vec<&str> = newest.as_deref().into_iter().collect();
    let data = text(&dir.join("data"));
    let own = text(dir);
    let port = ports[0].to_string();
    let program = |name: &str| find(name, &folders);
    let server = Line::new(
        program("postgres")?,
        &[
            "-D",
            &data,
            "-p",
            &port,
            "-k",
            &own,
            "-c",
            "listen_addresses=127.0.0.1",
        ],
    );
    // One that was killed left its lock behind.
    let _ = std::fs::remove_file(dir.join("data/postmaster.pid"));
    let mut recipe = Recipe::of(server, Greeting::Says(STARTUP, ASKS_FOR_PASSWORD));
    recipe.prepare = vec![Line::new(
        program("initdb")?,
        &[
            "-D",
            &data,
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ],
    )];
    recipe.finish = [
        "CREATE ROLE lattice LOGIN CREATEDB PASSWORD 'lattice'",
        "CREATE DATABASE lattice OWNER lattice",
    ]
    .into_iter()
    .map(|sql| {
        let arguments = [
            "-h",
            &own,
            "-p",
            &port,
            "-U",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ];
        Ok(Line::new(program("psql")?, &arguments))
    })
    .collect::<Result<_>>()?;
    recipe.user = Some("postgres");
    Ok(recipe)
}

/// The first message of a client, version 3 of the protocol. A server that still starts refuses it with an `E`; one that
/// takes connections asks for the password with an `R`.
const STARTUP: &[u8] = b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0";
const ASKS_FOR_PASSWORD: u8 = b'R';
