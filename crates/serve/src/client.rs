//! Asks a page of a control plane's monitoring address, over plain HTTP.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

/// Ten thousand proxies with ten types each fit.
const MOST_BYTES: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// Nobody listens, or the connection broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What came is no HTTP, or the connection broke.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The address or the page cannot be put into a request.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// The answer is too long, or broke off.
    #[error("{0}")]
    Body(String),
    /// It takes too long.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Late(Duration),
}

/// Gets a page, which may have a query, from `HOST:PORT`; the status and the body.
///
/// # Errors
/// When there is no whole answer within `limit`. An answer of any status is no error.
pub async fn get(server: &str, page: &str, limit: Duration) -> Result<(StatusCode, Bytes), Unreachable> {
    tokio::time::timeout(limit, fetch(server, page)).await.map_err(|_| Unreachable::Late(limit))?
}

async fn fetch(server: &str, page: &str) -> Result<(StatusCode, Bytes), Unreachable> {
    let stream = tokio::net::TcpStream::connect(server).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDrop(tokio::spawn(connection));
    let request = hyper::Request::get(page).header("host", server).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    drop(connection);
    Ok((status, body.map_err(|error| Unreachable::Body(error.to_string()))?.to_bytes()))
}

/// Closes the connection with its only request, also if nobody waits for the answer any more.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
