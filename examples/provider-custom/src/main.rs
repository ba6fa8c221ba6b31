//! Greets in the words of its links: a provider of an interface of one's own.

use std::process::ExitCode;
use std::sync::Arc;

use lattice_provider_sdk::{
    Backends, Context, Features, LinkError, Provider, ProviderLink, Session, Settings, StartError,
    async_trait, process,
};

#[allow(warnings, clippy::all, reason = "generated from the WIT package")]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package example:provider-custom;
            world provider {
                export example:greet/greeter@0.1.0;
            }
        ",
        path: "../greeter/wit",
        world: "example:provider-custom/provider",
        generate_all,
    });
}

/// What the parameters of every call are checked by.
const WIT: &str = include_str!("../../greeter/wit/greet.wit");

/// What one link says.
struct Greeting(String);

/// Answers each call with the greeting of the link that it comes through.
#[derive(Clone)]
struct Linked(Arc<Backends<Greeting>>);

impl bindings::exports::example::greet::greeter::Handler<Context> for Linked {
    async fn greet(&self, cx: Context, name: String) -> anyhow::Result<String> {
        let Greeting(greeting) = &*self.0.of(&cx).await?;
        Ok(format!("{greeting}, {name}!"))
    }
}

/// The provider: its session and what its links say.
struct Greeter {
    session: Session,
    greetings: Arc<Backends<Greeting>>,
}

#[async_trait]
impl Provider for Greeter {
    const NAME: &'static str = "provider-custom";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let greetings = Arc::new(Backends::new());
        let server = session.server().checked_by([WIT])?;
        let functions = bindings::serve(&server, Linked(Arc::clone(&greetings)));
        let functions = functions.await;
        let functions = functions.map_err(|e| StartError::because("no bindings", e))?;
        server.drive(functions).await?;
        Ok(Arc::new(Self { session, greetings }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = Settings::of(&self.session, link);
        let greeting = settings.required("greeting", "the first word of every greeting")?;
        self.greetings
            .put(link, Arc::new(Greeting(greeting.to_owned())));
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.greetings.delete(link);
    }

    async fn describe(&self, _link: &ProviderLink) -> Features {
        Features::new().with("language", "any")
    }
}

fn main() -> ExitCode {
    process::main::<Greeter>(env!("CARGO_PKG_VERSION"))
}
