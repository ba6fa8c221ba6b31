//! From a subject and a body to a method of the API.

use async_nats::Message;
use lattice_core::host::HostInventory;
use lattice_core::subject::{ControlOp, UnsupportedSubject};
use lattice_core::{ErrorCode, Link, config};
use serde::Serialize;
use serde::de::{DeserializeOwned, Unexpected};

use super::reply::{Encoded, Extra, encode, encode_within};
use super::worker::Shared;
use crate::api::{ControlApi, ControlError, Done, NoData, Outcome};
use crate::types::StopHostCommand;

/// What an inventory does without if need be.
const ROADS: &[Extra<HostInventory>] = &[|inventory| inventory.roads.clear()];

/// What links do without: first the reasons, of which there are most when much has failed.
const STATES: &[Extra<Vec<Link>>] = &[
    |links| {
        for status in links.iter_mut().flat_map(|link| &mut link.status) {
            status.reason = None;
        }
    },
    |links| links.iter_mut().for_each(|link| link.status.clear()),
];

/// Handles a request; `None` means silence.
pub(super) async fn dispatch(shared: &Shared, message: &Message) -> Option<Encoded> {
    let op = match shared.subjects.parse(&message.subject) {
        Ok(op) => op,
        Err(error) => return Some(encode::<NoData>(Err(unsupported(&message.subject, &error)))),
    };
    let (api, body) = (&*shared.api, &*message.payload);
    let max = shared.nats.max_payload();
    match op {
        ControlOp::ComponentAuction => {
            bid(body, "component auction request", async |request| {
                api.auction_component(request).await
            })
            .await
        }
        ControlOp::ProviderAuction => {
            bid(body, "provider auction request", async |request| {
                api.auction_provider(request).await
            })
            .await
        }
        ControlOp::HostGet(_) => Some(encode_within(api.inventory().await, max, ROADS)),
        ControlOp::HostPing => Some(encode(api.ping().await)),
        ControlOp::ClaimsGet => Some(encode(api.claims().await)),
        ControlOp::LinkGet => Some(encode_within(api.links().await, max, STATES)),
        ControlOp::ConfigGet(name) => Some(encode(api.config(name).await)),
        op => Some(encode(change(shared, api, op, body).await)),
    }
}

/// Operations that change something and answer with a text.
async fn change(shared: &Shared, api: &dyn ControlApi, op: ControlOp, body: &[u8]) -> Done {
    match op {
        ControlOp::ComponentScale(_) => {
            api.scale_component(decode(body, "component scale command")?)
                .await
        }
        ControlOp::ComponentUpdate(_) => {
            api.update_component(decode(body, "component update command")?)
                .await
        }
        ControlOp::ProviderStart(_) => {
            api.start_provider(decode(body, "provider start command")?)
                .await
        }
        ControlOp::ProviderStop(_) => {
            api.stop_provider(decode(body, "provider stop command")?)
                .await
        }
        ControlOp::HostStop(_) => api.stop_host(stop_command(shared, body)?).await,
        ControlOp::LabelPut(_) => api.put_label(decode(body, "host label")?).await,
        ControlOp::LabelDelete(_) => {
            api.delete_label(decode(body, "host label identifier")?)
                .await
        }
        ControlOp::LinkPut => api.put_link(decode(body, "link")?).await,
        ControlOp::LinkDelete => api.delete_link(decode(body, "link delete request")?).await,
        ControlOp::ConfigPut(name) => {
            let config = config::parse(body).map_err(|error| {
                let cause = std::error::Error::source(&error).unwrap_or(&error);
                ControlError::new(ErrorCode::BadRequest, error.to_string())
                    .because(cause)
                    .with_hint("send a JSON object whose values are all texts in quotes")
            })?;
            api.put_config(name, config).await
        }
        ControlOp::ConfigDelete(name) => api.delete_config(name).await,
        ControlOp::RegistryPut => {
            api.put_registries(decode(body, "registry credentials")?)
                .await
        }
        // All others answer with data and are handled before.
        _ => Err(
            ControlError::new(ErrorCode::UnsupportedSubject, "unsupported subject")
                .with_hint("use an operation of the control interface, version 1"),
        ),
    }
}

/// Decodes a body. The message is one that old clients know, so the cause stands apart.
fn decode<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, ControlError> {
    // The fields of a list would be taken for those of a command, in the order of its type.
    let list = body.trim_ascii_start().starts_with(b"[");
    let decoded = if list {
        Err(serde::de::Error::invalid_type(
            Unexpected::Seq,
            &"an object",
        ))
    } else {
        serde_json::from_slice(body)
    };
    decoded.map_err(|error: serde_json::Error| {
        let text = format!("failed to deserialize {what}");
        ControlError::new(ErrorCode::BadRequest, text)
            .because(&error)
            .with_hint(format!(
                "send the {what} as a JSON object with {}",
                lack(&error)
            ))
    })
}

/// What a body lacks that could not be decoded.
fn lack(error: &serde_json::Error) -> &'static str {
    if error.is_data() {
        "the field that the cause names, of the type that it names"
    } else {
        "nothing missing or broken off at the place that the cause names"
    }
}

/// Asks for a bid; a host that does not bid stays silent.
async fn bid<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    what: &str,
    ask: impl AsyncFnOnce(Q) -> Option<A>,
) -> Option<Encoded> {
    match decode(body, what) {
        Ok(request) => ask(request).await.map(|ack| encode(Ok(Outcome::Data(ack)))),
        Err(error) => Some(encode::<NoData>(Err(error))),
    }
}

/// Reads the command to stop the host; an empty body is one with all defaults.
fn stop_command(shared: &Shared, body: &[u8]) -> Result<StopHostCommand, ControlError> {
    let command: StopHostCommand = if body.is_empty() {
        StopHostCommand::default()
    } else {
        decode(body, "stop command")?
    };
    let own = &shared.config.host_id;
    if command.host_id.is_empty() || *own == *command.host_id {
        return Ok(command);
    }
    let text = format!("invalid host_id [{}]", command.host_id);
    Err(ControlError::new(ErrorCode::BadRequest, text)
        .with_hint(format!("the subject addresses host `{own}`")))
}

fn unsupported(subject: &str, error: &UnsupportedSubject) -> ControlError {
    let reply = ControlError::new(ErrorCode::UnsupportedSubject, error.to_string());
    let reply = match error {
        UnsupportedSubject::Tail(invalid) => reply.because(invalid),
        _ => reply,
    };
    if subject.contains(".config.") {
        return reply.with_hint(
            "the name of a config is one token: use letters, digits, `-` and `_`, and no dots",
        );
    }
    reply
}
