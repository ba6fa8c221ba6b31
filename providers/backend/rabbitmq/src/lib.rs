//! A connection to RabbitMQ that is made again when it is lost, made of what links say.
//!
//! Messages and queues use a server in the same way: who connects, with what certificates, in what time,
//! how it is noticed that the connection is gone or that the server takes nothing, when a channel that
//! publishes may be used again, and what fits into a frame. What goes over the connection is the business of
//! the providers, each of which says what it has on a line.
//!
//! ```no_run
//! use lapin::Connection;
//! use lattice_provider_sdk::Settings;
//! use lattice_rabbitmq::{KeptLine, Line, RabbitSettings, open_channel};
//!
//! struct Bare(Connection);
//!
//! impl Line for Bare {
//!     fn is_up(&self) -> bool {
//!         self.0.status().connected()
//!     }
//! }
//!
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::from_texts([("url", "amqp://me:secret@localhost")], []);
//! let server = RabbitSettings::read(&settings)?;
//! let prepare = |connection| std::future::ready(Ok(Bare(connection)));
//! let kept = KeptLine::open(&server, "me", prepare).await?;
//! let channel = open_channel(&kept.now()?.0).await?;
//! # Ok(()) }
//! ```

mod blocked;
mod channel;
mod connect;
mod frame;
mod kept_line;
mod settings;

pub use blocked::{Blocked, takes_messages};
pub use channel::{ExclusiveChannel, Lent, open_channel, open_confirming_channel};
pub use connect::ConnectError;
pub use frame::{fits_frame, frame_size};
pub use kept_line::{KeptLine, Line};
pub use settings::RabbitSettings;
