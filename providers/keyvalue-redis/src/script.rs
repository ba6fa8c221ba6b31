//! Scripts, which the server runs as a whole: nobody writes in between.

use redis::{Cmd, FromRedisValue, cmd};
use sha1::{Digest as _, Sha1};

use crate::connection::{AskError, Connection};

/// A script. The server remembers those that it has run by the digest of their text.
pub(crate) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        let digest = Sha1::digest(text);
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, digest }
    }

    /// Runs it with the number of its keys, the keys and the arguments that `fill` adds.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        connection: &Connection,
        fill: impl Fn(&mut Cmd),
    ) -> Result<T, AskError> {
        let command = |name, script: &str| {
            let mut command = cmd(name);
            command.arg(script);
            fill(&mut command);
            command
        };
        let known = command("EVALSHA", &self.digest);
        match connection.ask(&known).await {
            // The server was started since, or is another one: nothing was done.
            Err(error) if error.is_unknown_script() => {
                connection.ask(&command("EVAL", self.text)).await
            }
            answered => answered,
        }
    }
}
