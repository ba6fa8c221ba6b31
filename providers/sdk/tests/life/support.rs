//! A provider that tells what happens to it, and a stand-in for the host that runs it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures::StreamExt as _;
use lattice_core::provider::{
    HealthCheckResponse, HostData, LinkReport, SecretMap, SecretText, SecretValue,
};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::{
    ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, RunError, Session,
    StartError, run,
};
use nkeys::XKey;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Publishes every callback on `test.{its id}`.
pub(crate) struct Telltale {
    session: Session,
    /// The other ends of links, in the order in which they came.
    came: Mutex<Vec<String>>,
}

impl Telltale {
    async fn tell(&self, text: String) {
        let subject = format!("test.{}", self.session.id());
        let nats = self.session.peer().nats();
        nats.publish(subject, text.into()).await.unwrap();
    }

    async fn put(&self, role: &str, link: &ProviderLink) -> Result<(), LinkError> {
        match link.value("behave") {
            Some("invalid") => return Err(LinkError::invalid("no such thing")),
            Some("quote") => return Err(self.quoting(link)),
            Some("panic") => panic!("on purpose"),
            Some("hang") => std::future::pending().await,
            // Each callback takes most of the time that there is, or all of it.
            Some("drag") => tokio::time::sleep(Duration::from_secs(3)).await,
            Some("call") => {
                let until = Instant::now() + PATIENCE;
                let call = self
                    .session
                    .call_through(link, "test:slow/echo", "echo", until);
                let answer = self.session.peer().call(call, "hi".into()).await;
                self.tell(format!("called {:?}", answer.is_ok())).await;
            }
            _ => {}
        }
        needed(link)?;
        let v = v_of(link);
        self.tell(format!(
            "put {role} {} {} {} v={v}",
            link.peer, link.package, link.name
        ))
        .await;
        Ok(())
    }

    /// What goes wrong, with a secret of its own and one of the link.
    fn quoting(&self, link: &ProviderLink) -> LinkError {
        let own = self.session.secrets();
        let Some(SecretValue::String(own)) = own.get("own") else {
            panic!("it has no secret of its own");
        };
        let of_link = link.secret("of-link").unwrap();
        LinkError::invalid(format!("no user {own} with {of_link}"))
    }

    async fn tell_of(&self, what: &str, link: &ProviderLink) {
        let (peer, package, name) = (&link.peer, &link.package, &link.name);
        self.tell(format!("{what} {peer} {package} {name}")).await;
    }

    async fn delete(&self, role: &str, link: &ProviderLink) {
        if link.value("behave") == Some("drag") {
            std::future::pending().await
        }
        self.tell_of(&format!("delete {role}"), link).await;
    }
}

fn needed(link: &ProviderLink) -> Result<(), LinkError> {
    match link.value("needs") {
        Some(file) if !std::path::Path::new(file).exists() => {
            Err(LinkError::unavailable(format!("`{file}` is missing")))
        }
        _ => Ok(()),
    }
}

fn v_of(link: &ProviderLink) -> &str {
    link.value("v").unwrap_or("-")
}

#[lattice_provider_sdk::async_trait]
impl Provider for Telltale {
    const NAME: &'static str = "telltale";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        session
            .serve("test:slow/echo", "echo", |call| async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let params = call.params.first().clone();
                call.responder.reply(params).await.unwrap();
            })
            .await?;
        Ok(Arc::new(Self {
            session,
            came: Mutex::default(),
        }))
    }

    fn link_comes(&self, link: &LinkKey) {
        self.came.lock().unwrap().push(link.peer.to_string());
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        self.put("source", link).await
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        self.put("target", link).await
    }

    async fn replace_source_link(
        &self,
        old: &ProviderLink,
        new: &ProviderLink,
    ) -> Result<ConfigChange, LinkError> {
        match new.value("replace") {
            None => return Ok(ConfigChange::Relink),
            Some("invalid") => return Err(LinkError::invalid("no such thing")),
            Some("panic") => panic!("on purpose"),
            Some("hang") => std::future::pending().await,
            Some(_) => {}
        }
        needed(new)?;
        let (before, now) = (v_of(old), v_of(new));
        let peer = &new.peer;
        self.tell(format!("replace source {peer} v={before} by v={now}"))
            .await;
        Ok(ConfigChange::Taken)
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.delete("source", link).await;
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.delete("target", link).await;
    }

    async fn forget_source_link(&self, link: &ProviderLink) {
        self.tell_of("forget source", link).await;
    }

    async fn forget_target_link(&self, link: &ProviderLink) {
        if link.value("keeps").is_some() {
            self.tell_of("forget target", link).await;
        }
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        if link.value("behave") == Some("drag") {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        Features::new().having("cas").with("max-value-bytes", 1024)
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match link.value("gone") {
            Some(file) if std::path::Path::new(file).exists() => {
                Err(LinkError::unavailable(format!("`{file}` is there")))
            }
            _ => Ok(()),
        }
    }

    async fn put_config(&self, config: &StringMap) -> ConfigChange {
        assert_eq!(*self.session.config(), *config);
        let text = serde_json::to_string(config).unwrap();
        self.tell(format!("config {text}")).await;
        assert!(!config.contains_key("panic"), "on purpose");
        if config.contains_key("order") {
            let came = self.came.lock().unwrap().join(" ");
            self.tell(format!("came {came}")).await;
        }
        match config.get("relink") {
            Some(_) => ConfigChange::Relink,
            None => ConfigChange::Taken,
        }
    }

    async fn shutdown(&self, _until: Instant) {
        self.tell("shutdown".to_owned()).await;
    }
}

/// A host as one provider sees it.
pub(crate) struct Host {
    pub(crate) box_: NatsBox,
    pub(crate) nats: Client,
    pub(crate) subjects: ProviderSubjects,
    pub(crate) lattice: LatticeName,
    pub(crate) provider: ComponentId,
    pub(crate) xkey: XKey,
    pub(crate) provider_xkey: XKey,
    pub(crate) told: Subscriber,
    pub(crate) reports: Subscriber,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), RunError>>,
}

pub(crate) fn link(source: &str, target: &str, values: &[(&str, &str)]) -> ResolvedLink {
    let values: StringMap = values
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    ResolvedLink {
        source_id: source.into(),
        target: target.into(),
        name: "default".into(),
        wit_namespace: "wasi".into(),
        wit_package: "keyvalue".into(),
        interfaces: vec!["store".into()],
        source_config: values.clone(),
        target_config: values,
        source_secrets: None,
        target_secrets: None,
        locality: lattice_core::Locality::default(),
        rules: lattice_core::LinkRules::default(),
        ruled: false,
    }
}

pub(crate) const HOST_ID: &str = "NTESTHOST";

impl Host {
    /// Starts a provider that was given the links.
    pub(crate) async fn start(links: Vec<ResolvedLink>) -> Self {
        Self::start_with(links, true).await
    }

    pub(crate) async fn start_with(links: Vec<ResolvedLink>, keys: bool) -> Self {
        let data = HostData {
            link_definitions: links,
            ..HostData::default()
        };
        Self::begin(data, keys).await
    }

    /// One that tells each process its own config.
    pub(crate) async fn start_with_own_config() -> Self {
        let data = HostData {
            lattice_own_config: true,
            ..HostData::default()
        };
        Self::begin(data, true).await
    }

    /// One that gives the provider secrets of its own.
    pub(crate) async fn start_with_secrets(secrets: SecretMap) -> Self {
        let data = HostData {
            secrets,
            ..HostData::default()
        };
        Self::begin(data, true).await
    }

    /// Starts a provider that is told `data`, and where and who it is.
    async fn begin(data: HostData, keys: bool) -> Self {
        let box_ = NatsBox::start().await.unwrap();
        let nats = box_.client().await.unwrap();
        let lattice = LatticeName::default();
        let provider = ComponentId::new("kv").unwrap();
        let subjects = ProviderSubjects::new(&lattice, &provider);
        let told = nats.subscribe("test.kv").await.unwrap();
        let reports = nats.subscribe(subjects.link_status()).await.unwrap();
        lattice_nats_box::taken_in(&nats).await.unwrap();
        let (xkey, provider_xkey) = (XKey::new(), XKey::new());
        let mut data = HostData {
            host_id: HOST_ID.into(),
            lattice_rpc_prefix: lattice.to_string(),
            link_name: "default".into(),
            lattice_rpc_url: box_.url.clone().into(),
            provider_key: provider.to_string(),
            ..data
        };
        if keys {
            data.host_xkey_public_key = xkey.public_key();
            data.provider_xkey_private_key = SecretText::new(provider_xkey.seed().unwrap());
        }
        let stop = CancellationToken::new();
        let running = tokio::spawn(run::<Telltale>(data, stop.clone()));
        let host = Self {
            box_,
            nats,
            subjects,
            lattice,
            provider,
            xkey,
            provider_xkey,
            told,
            reports,
            stop,
            running,
        };
        host.health().await;
        host
    }

    /// Asks until the provider answers.
    pub(crate) async fn health(&self) -> HealthCheckResponse {
        serde_json::from_slice(&self.health_text().await).unwrap()
    }

    pub(crate) async fn health_text(&self) -> bytes::Bytes {
        let ask = async {
            loop {
                let subject = self.subjects.health();
                if let Ok(answer) = self.nats.request(subject, "".into()).await {
                    break answer.payload;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ask).await.expect("health")
    }

    pub(crate) async fn told(&mut self) -> String {
        let told = tokio::time::timeout(PATIENCE, self.told.next()).await;
        String::from_utf8(told.expect("told in time").unwrap().payload.to_vec()).unwrap()
    }

    pub(crate) async fn report(&mut self) -> LinkReport {
        let report = tokio::time::timeout(PATIENCE, self.reports.next()).await;
        serde_json::from_slice(&report.expect("a report in time").unwrap().payload).unwrap()
    }

    /// Publishes a link to the provider's own key.
    pub(crate) async fn put(&self, link: &ResolvedLink) {
        let subject = self.put_subject();
        let payload = serde_json::to_vec(link).unwrap();
        self.nats.publish(subject, payload.into()).await.unwrap();
    }

    pub(crate) fn put_subject(&self) -> String {
        self.subjects
            .link_put_sealed(&self.provider_xkey.public_key())
    }

    pub(crate) async fn delete(&self, link: &ResolvedLink) {
        let payload = serde_json::to_vec(link).unwrap();
        let subject = self.subjects.link_delete();
        self.nats.publish(subject, payload.into()).await.unwrap();
    }

    /// Has this process, and no other, do without a link.
    pub(crate) async fn withdraw(&self, link: &ResolvedLink) {
        let payload = serde_json::to_vec(link).unwrap();
        let key = self.provider_xkey.public_key();
        let subject = self.subjects.link_delete_of(&key);
        self.nats.publish(subject, payload.into()).await.unwrap();
    }

    /// Puts a link as a request and returns the JSON of the answer.
    pub(crate) async fn put_asking(&self, link: &ResolvedLink) -> String {
        let payload = serde_json::to_vec(link).unwrap();
        let answer = self.nats.request(self.put_subject(), payload.into());
        String::from_utf8(answer.await.unwrap().payload.to_vec()).unwrap()
    }

    /// Shows that nothing was told before `marker`, which is a config the provider tells of.
    pub(crate) async fn expect_quiet(&mut self, marker: &str) {
        let payload = format!(r#"{{"marker":"{marker}"}}"#);
        let subject = self.subjects.config_update();
        self.nats
            .publish(subject, payload.clone().into())
            .await
            .unwrap();
        assert_eq!(self.told().await, format!("config {payload}"));
    }
}
