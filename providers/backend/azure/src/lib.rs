//! Signed requests to Azure Storage.
//!
//! Blobs and queues of Azure are kept in an account, whose requests are signed alike and whose
//! refusals look alike. This crate knows accounts, signatures and refusals; what is asked for is the
//! business of the providers.
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use lattice_azure::{Azure, AzureOptions, AzureRequest, Kind};
//! use lattice_backend_http::{HttpBackend, HttpOptions, Retry};
//!
//! let value = |name: &str| std::env::var(name).ok();
//! let options = AzureOptions::read(Kind::Blob, value)?;
//! let http = HttpBackend::new(HttpOptions::default())?;
//! let azure = Azure::new(http, options, Retry::default());
//! let list = AzureRequest {
//!     query: vec![("comp", "list")],
//!     ..AzureRequest::new("list containers", http::Method::GET, "/")
//! };
//! println!("{:?}", azure.ask_xml(&list).await?.child("Containers"));
//! # Ok(()) }
//! ```

mod account;
mod client;
mod error;
mod sign;

pub use account::{AzureOptions, InvalidAccount, Kind, Login};
pub use client::{Azure, AzureRequest};
pub use error::AzureError;
