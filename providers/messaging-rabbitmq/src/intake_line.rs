//! The connection for everything that is not published.

use lapin::options::BasicQosOptions;
use lapin::{Channel, Connection};
use lattice_rabbitmq::open_channel;

use crate::publish_line::declare_exchange;

/// One connection for all that is not published: what brings messages, acknowledges them, and makes queues
/// and bindings. A server that is short of memory or disk reads nothing from connections that publish, and
/// would not hear that messages were handled, which is what relieves it.
pub(crate) struct IntakeLine {
    pub(crate) connection: Connection,
    /// Nobody consumes on it.
    asking: Channel,
}

impl lattice_rabbitmq::Line for IntakeLine {
    fn is_up(&self) -> bool {
        self.asking.status().connected() && self.connection.status().connected()
    }
}

impl IntakeLine {
    /// What takes messages of that exchange, on a new connection.
    pub(crate) async fn on(connection: Connection, exchange: String) -> lapin::Result<Self> {
        let asking = open_channel(&connection).await?;
        // It may have gone since the other connection was made.
        declare_exchange(&asking, &exchange).await?;
        Ok(Self { connection, asking })
    }

    /// Waits for an answer of the server; what is asked changes nothing.
    pub(crate) async fn sync(&self) -> lapin::Result<()> {
        self.asking.basic_qos(0, BasicQosOptions::default()).await
    }
}
