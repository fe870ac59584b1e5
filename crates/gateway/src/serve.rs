//! Serves a router on a listener: bounded in connections, in header size and time, and stopped gracefully.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use openssl::error::ErrorStack;
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslFiletype, SslMethod, select_next_proto};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// What a client of HTTP/2 may send on a stream before somebody reads it.
const WINDOW_BYTES: u32 = 64 << 10;

/// Limits of a listener.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// Connections at once; further ones wait in the system's queue. Default 4 096.
    pub connections_max: usize,
    /// Longest time for the head of a request, which also ends idle connections. Default 30 s.
    pub header_time: Duration,
    /// Longest head of a request in bytes. Default 64 KiB.
    pub header_bytes_max: usize,
    /// HTTP/2 streams of a connection at once. Default 256.
    pub streams_per_connection_max: u32,
    /// How long requests in work may take after a stop. Default 10 s.
    pub drain: Duration,
    /// Longest time for a TLS handshake. Default 10 s.
    pub handshake: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            header_time: Duration::from_secs(30),
            header_bytes_max: 64 << 10,
            streams_per_connection_max: 256,
            drain: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
        }
    }
}

/// Certificate and private key of a listener.
#[derive(Clone)]
pub struct Tls(Arc<SslAcceptor>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Why certificate or key cannot be used. Says nothing of the key.
#[derive(Debug, thiserror::Error)]
#[error("the certificate or its key cannot be read, is no PEM file, or they do not belong together")]
pub struct TlsError(#[source] ErrorStack);

impl Tls {
    /// From PEM files: the certificate followed by those of its issuers, and its private key. TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// A file that cannot be read, or a key of another certificate.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let build = || -> Result<SslAcceptor, ErrorStack> {
            let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
            acceptor.set_certificate_chain_file(certificate)?;
            acceptor.set_private_key_file(key, SslFiletype::PEM)?;
            acceptor.check_private_key()?;
            // HTTP/2 where the client can: its list is in the order of its wishes.
            acceptor.set_alpn_select_callback(|_, offered| {
                select_next_proto(b"\x02h2\x08http/1.1", offered).ok_or(AlpnError::NOACK)
            });
            Ok(acceptor.build())
        };
        build().map(|acceptor| Self(Arc::new(acceptor))).map_err(TlsError)
    }

    /// Shakes hands with a client.
    async fn accept(&self, stream: TcpStream) -> Result<SslStream<TcpStream>, openssl::ssl::Error> {
        let ssl = Ssl::new(self.0.context())?;
        let mut stream = SslStream::new(ssl, stream)?;
        Pin::new(&mut stream).accept().await?;
        Ok(stream)
    }
}

/// Serves until `stop`, then finishes what is in work, at most for the drain time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    stop: CancellationToken,
    limits: ServeLimits,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let builder = builder(&limits);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = async { (places.clone().acquire_owned().await, listener.accept().await) } => accepted,
        };
        let (Ok(place), accepted) = accepted else { break };
        let (stream, peer): (TcpStream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::warn!(error = %error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Answers are small and complete; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let connection =
            Connection { builder: builder.clone(), router: router.clone(), watcher: graceful.watcher(), peer };
        let (tls, handshake) = (tls.clone(), limits.handshake);
        tokio::spawn(async move {
            let _place = place;
            let Some(tls) = tls else { return connection.serve(stream).await };
            match timeout(handshake, tls.accept(stream)).await {
                Ok(Ok(stream)) => connection.serve(stream).await,
                Ok(Err(error)) => tracing::debug!(error = %error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        });
    }
    drop(listener);
    if timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in work were cut off by the drain limit");
    }
}

/// What a connection is served with.
struct Connection {
    builder: Builder<TokioExecutor>,
    router: Router,
    watcher: Watcher,
    peer: SocketAddr,
}

impl Connection {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let peer = self.peer;
        let told = self.router.into_service().map_request(move |mut request: Request<_>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        });
        let service = TowerToHyperService::new(told);
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(error = %error, "connection ended");
        }
    }
}

fn builder(limits: &ServeLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection_max)
        // Filled before anybody is authenticated, so small: 128 KiB for each of the connections at most.
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .max_send_buf_size(WINDOW_BYTES as usize)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.header_time)
        .keep_alive_timeout(limits.header_time);
    builder
}
