//! The provider's part in the life cycle.

use std::sync::Arc;
use std::time::Duration;

use lattice_codec::http::ErrorCode;
use lattice_core::StringMap;
use lattice_core::link::carries;
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, InvalidSetting, LinkError, Provider, ProviderLink, Session,
    Settings, Sharing, StartError, async_trait,
};
use lattice_rpc::http::{HANDLE, OUTGOING_HANDLER, REQUEST, answer, take_outgoing_request};
use lattice_rpc::{IncomingCall, RemoteError, ServeOptions};
use tokio::time::Instant;

use crate::base::Base;
use crate::client::LinkClient;
use crate::settings::{Http2, HttpSettings};

/// How long requests of callers may take that tell no deadline, as those of the 1.9 lattice.
const UNTOLD: Duration = Duration::from_secs(600);

/// Lets components send HTTP requests.
#[derive(Debug)]
pub struct HttpClient {
    session: Session,
    bases: Sharing<HttpSettings, Base>,
    links: Arc<Backends<LinkClient>>,
}

#[async_trait]
impl Provider for HttpClient {
    const NAME: &'static str = "http-client";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let links = Arc::new(Backends::<LinkClient>::new());
        let options = ServeOptions {
            takes: Some(REQUEST),
            default_deadline: UNTOLD,
            ..session.serve_options()
        };
        let served = Arc::clone(&links);
        let handler = move |call| serve(Arc::clone(&served), call);
        session
            .serve_with(options, OUTGOING_HANDLER, HANDLE, handler)
            .await?;
        Ok(Arc::new(Self {
            session,
            bases: Sharing::new(),
            links,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !link.is_for("wasi", "http") || !carries(&link.interfaces, "outgoing-handler") {
            return Err(LinkError::invalid(
                "an HTTP client is linked for `outgoing-handler` of `wasi:http`",
            ));
        }
        let settings = self.settings(link)?;
        let base = self.bases.get(&settings, || Base::new(&settings)).await?;
        base.check().await?;
        // A link that is put again as it was keeps its connections.
        let known = self.links.get(link);
        let client = known.filter(|known| *known.settings() == settings);
        let client = client.unwrap_or_else(|| Arc::new(LinkClient::new(base)));
        self.links.put(link, client);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.links.delete(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        match self.settings(link) {
            Ok(settings) => features(&settings),
            Err(_) => Features::new(),
        }
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = self.settings(link)?;
        let base = self.bases.get(&settings, || Base::new(&settings)).await?;
        base.check().await
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        ConfigChange::Relink
    }

    async fn shutdown(&self, _until: Instant) {}
}

impl HttpClient {
    fn settings(&self, link: &ProviderLink) -> Result<HttpSettings, InvalidSetting> {
        let settings = Settings::of(&self.session, link);
        HttpSettings::read(&settings, &link.rules, self.session.is_strict())
    }
}

/// What a link with these settings can do.
fn features(settings: &HttpSettings) -> Features {
    let limits = &settings.limits;
    let features = Features::new()
        .having("proxy")
        .having("timeouts")
        .having("trailers")
        .having("allow")
        .with("retries", settings.retry.retries)
        .with("max-concurrent-requests", limits.requests)
        .with("max-connections-per-host", limits.connections)
        .with("max-header-bytes", limits.header)
        .with("max-request-body-bytes", limits.request_body)
        .with("max-response-body-bytes", limits.response_body);
    match settings.http2 {
        Http2::Off => features.lacking("http2"),
        Http2::Auto => features.having("http2"),
        Http2::PriorKnowledge => features.with("http2", "prior-knowledge"),
    }
}

/// Answers one call.
async fn serve(links: Arc<Backends<LinkClient>>, call: IncomingCall) {
    let IncomingCall {
        context,
        mut params,
        responder,
        ..
    } = call;
    let (request, options) = match take_outgoing_request(&mut params).await {
        Ok(taken) => taken,
        Err(error) => {
            let refusal = RemoteError::new(RemoteError::BAD_REQUEST, error.to_string());
            if let Err(error) = responder.fail(refusal).await {
                tracing::debug!(%error, "could not refuse a call");
            }
            return;
        }
    };
    let response = match links.of(&context).await {
        Ok(client) => Box::pin(client.send(&context, request, options)).await,
        Err(error) => Err(ErrorCode::InternalError(Some(error.to_string()))),
    };
    if let Err(code) = &response {
        tracing::debug!(
            component = context.source_id.as_deref().unwrap_or_default(),
            link = &*context.link_name,
            %code,
            "a request failed"
        );
    }
    if let Err(error) = answer(responder, response).await {
        tracing::debug!(%error, "a response was not read to its end");
    }
}
