//! Fetches the page that the status comes from.

use anyhow::bail;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

/// The page that the status comes from.
const PAGE: &str = "/debug/proxies";

/// Ten thousand proxies with ten types each fit.
const MOST_BYTES: usize = 64 << 20;

/// The page of the server at that address.
pub(super) async fn fetch(server: &str) -> anyhow::Result<Bytes> {
    let stream = tokio::net::TcpStream::connect(server).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::get(PAGE).header("host", server).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        bail!("{PAGE} answered {}", response.status());
    }
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    connection.abort();
    Ok(body.map_err(|error| anyhow::anyhow!(error))?.to_bytes())
}
