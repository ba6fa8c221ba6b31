//! moto, which speaks the protocols of S3 and SQS.

use std::path::Path;

use anyhow::Result;

use crate::Greeting;
use crate::programs::find;
use crate::recipe::{Line, Recipe};

pub(crate) fn recipe(_dir: &Path, ports: &[u16]) -> Result<Recipe> {
    let port = ports[0].to_string();
    let line = Line::new(find("moto_server", &[])?, &["-H", "127.0.0.1", "-p", &port]);
    Ok(Recipe::of(
        line,
        Greeting::Speaks(b"GET /moto-api/ HTTP/1.0\r\n\r\n"),
    ))
}
