//! A component asks for a name whose name server answers otherwise each time: it is the attacker's.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use lattice_integration::{Lattice, STEP, get, program};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Where the name leads every other time: the link names this network.
const NAMED: Ipv4Addr = Ipv4Addr::new(127, 7, 0, 1);
/// Where it leads in between.
const PRIVATE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The head of a message about names, in bytes.
const HEAD: usize = 12;
/// The type of a question for an address of the older kind.
const OLDER: [u8; 2] = [0, 1];

/// The answer to a question: this address, or none of that kind.
fn answer(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let name = question.get(HEAD..)?.iter().position(|byte| *byte == 0)?;
    let kind = HEAD + name + 1;
    let asked = question.get(..kind + 4)?;
    let found = u8::from(asked[kind..kind + 2] == OLDER);
    let mut said = asked[..2].to_vec();
    said.extend([0x81, 0x80, 0, 1, 0, found, 0, 0, 0, 0]);
    said.extend(&asked[HEAD..]);
    if found == 1 {
        // The name that was asked for; its address, which is not to be kept.
        said.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        said.extend(address.octets());
    }
    Some(said)
}

/// A name server on the usual port of an address that nobody else is likely to have.
async fn name_server() -> Result<(Ipv4Addr, AbortOnDropHandle<()>)> {
    let [.., third, fourth] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 53, third, fourth.clamp(1, 254));
    let socket = UdpSocket::bind((own, 53)).await?;
    let serving = tokio::spawn(async move {
        let mut question = [0; 512];
        let mut addresses = [NAMED, PRIVATE].into_iter().cycle().peekable();
        while let Ok((size, from)) = socket.recv_from(&mut question).await {
            let Some(address) = addresses.peek().copied() else {
                return;
            };
            let Some(said) = answer(&question[..size], address) else {
                continue;
            };
            if said.ends_with(&address.octets()) {
                addresses.next();
            }
            // Whoever hears nothing asks again.
            let _unsent = socket.send_to(&said, from).await;
        }
    });
    Ok((own, AbortOnDropHandle::new(serving)))
}

/// A server that says `named` once on each connection, and counts these.
async fn server(at: SocketAddr) -> Result<(SocketAddr, Arc<AtomicUsize>, AbortOnDropHandle<()>)> {
    let listener = TcpListener::bind(at).await?;
    let at = listener.local_addr()?;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_buf(&mut head).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            let said = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nnamed";
            // Who asked may be gone.
            let _unheard = stream.write_all(said).await;
        }
    });
    Ok((at, connections, AbortOnDropHandle::new(serving)))
}

/// Whether a process may be given another view of the files, and have the port of name servers.
async fn may_pretend() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).output();
    tried.await.is_ok_and(|tried| tried.status.success())
}

/// A program that is the HTTP client, for which names are known by this server alone.
fn client_of(server: Ipv4Addr, folder: &Path) -> Result<PathBuf> {
    let (path, servers) = (folder.join("http-client"), folder.join("resolv.conf"));
    std::fs::write(&servers, format!("nameserver {server}\n"))?;
    let text = format!(
        "#!/bin/sh\nexec unshare --mount sh -c \
         \"mount --bind '{}' /etc/resolv.conf && exec '{}'\"\n",
        servers.display(),
        program("http-client-provider")?.display(),
    );
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_the_next_time_opens_nothing_to_a_component() -> Result<()> {
    ensure!(
        may_pretend().await,
        "only root can give a process another name server; run the tests as root, in a container for example"
    );
    let folder = TempDir::new()?;
    let (names, _names) = name_server().await?;
    let (named, _, _named) = server((NAMED, 0).into()).await?;
    let (_, reached, _private) = server((PRIVATE, named.port()).into()).await?;

    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "http-probe", 10).await?;
    let client = client_of(names, folder.path())?;
    lattice.provide_file(0, "client", &client, &[]).await?;
    let url = format!("http://rebind.test:{}", named.port());
    let allowed = json!({"allow": format!("{url}, 127.7.0.0/16")});
    lattice.config("allowed", allowed).await?;
    let outgoing = "wasi:http/outgoing-handler";
    lattice
        .link("probe", "client", outgoing, &[], &["allowed"])
        .await?;
    let settings = json!({"timeout_ms": "25000"});
    let address = lattice.serve_http_with(0, "probe", settings).await?;
    let path = format!("/fetch?{url}/");
    lattice.until_status(&address, &path, 200).await?;

    let (mut let_in, mut refused) = (0, 0);
    let asking = async {
        while let_in < 5 || refused < 5 {
            let (_, text) = get(&address, &path).await?;
            let is_refused = text.contains("DestinationIpProhibited");
            ensure!(is_refused || text == "named", "{text}");
            refused += usize::from(is_refused);
            let_in += usize::from(!is_refused);
        }
        Ok::<_, anyhow::Error>(())
    };
    let asked = timeout(STEP, asking).await;
    asked.with_context(|| format!("{let_in} were let in, {refused} refused"))??;
    let reached = reached.load(Ordering::SeqCst);
    ensure!(reached == 0, "{reached} requests came where none may go");
    Ok(())
}
