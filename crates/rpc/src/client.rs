//! What a client needs: a channel to the server, and the generated clients on it.

use std::time::Duration;

use tonic::transport::Endpoint;

pub use tonic::transport::Channel;

pub use crate::generated::v1::ledger_query_client::LedgerQueryClient;
pub use crate::generated::v1::operator_client::OperatorClient;

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(30);

/// No connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("`{address}` is no server address: http://HOST:PORT is expected")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// Nobody answers there.
    #[error("no server answers at {address}")]
    Unreachable {
        /// The address.
        address: String,
        /// What the connection attempt says.
        source: tonic::transport::Error,
    },
}

/// Connects to a server such as `http://127.0.0.1:7447`; without a scheme, `http` is meant.
pub async fn connect(address: &str) -> Result<Channel, ConnectError> {
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    Endpoint::from_shared(uri)
        .map_err(|source| ConnectError::Address { address: address.to_owned(), source })?
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(KEEPALIVE)
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(|source| ConnectError::Unreachable { address: address.to_owned(), source })
}
