//! The server: gRPC services, reflection and health on one port, until it is told to stop.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::HealthHandle;
use crate::generated::DESCRIPTORS;

/// How long a call may take until it answers; streams may then go on.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Calls in flight on one connection.
const CALLS_PER_CONNECTION: u32 = 256;
/// How often a silent connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptors that are compiled in cannot be used for reflection.
    #[error("the compiled descriptors cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The socket failed.
    #[error("the server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// How a server that was told to stop came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Stopped {
    /// Every call in flight was finished.
    Drained,
    /// The grace period ended first; what was still in flight was cut off.
    CutOff,
}

/// Serves `routes` on `listener` together with reflection (v1 and v1alpha), `grpc.health.v1.Health` and
/// `/livez` and `/readyz`, until `shutdown`; then finishes calls in flight for at most `grace`.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    health: HealthHandle,
    shutdown: CancellationToken,
    grace: Duration,
) -> Result<Stopped, ServeError> {
    let routes = routes.add_service(reflection()?.build_v1()?).add_service(reflection()?.build_v1alpha()?);
    run(listener, routes, health, shutdown, grace).await
}

/// Serves nothing but health: gRPC and HTTP on one port. For services that answer no questions.
pub async fn serve_health(
    listener: TcpListener,
    health: HealthHandle,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    // Health checks are over at once; there is nothing to finish.
    run(listener, Routes::default(), health, shutdown, Duration::from_secs(1)).await.map(|_| ())
}

fn reflection() -> Result<tonic_reflection::server::Builder<'static>, ServeError> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET))
}

async fn run(
    listener: TcpListener,
    routes: Routes,
    health: HealthHandle,
    shutdown: CancellationToken,
    grace: Duration,
) -> Result<Stopped, ServeError> {
    let routes = Routes::from(routes.add_service(health.grpc()).into_axum_router().merge(health.http()));
    let server = Server::builder()
        .accept_http1(true)
        .timeout(CALL_LIMIT)
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            shutdown.clone().cancelled_owned(),
        );
    let cut_off = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        ended = server => ended.map(|()| Stopped::Drained).map_err(ServeError::from),
        () = cut_off => Ok(Stopped::CutOff),
    }
}
