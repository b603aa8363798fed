//! One HTTP/1.1 request to something near: Envoy's admin interface, the workload.
//!
//! Invariant: an answer is bounded in time and in bytes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::HostPort;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    #[error("no answer within {0:?}")]
    Slow(Duration),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(String),
}

/// Asks; an answer of any status is an answer.
pub(crate) async fn ask(
    method: Method,
    address: &HostPort,
    path: &str,
    headers: HeaderMap,
    limit: Duration,
    most: usize,
) -> Result<Answer, WebError> {
    let attempt = async {
        let http = |error: &dyn std::fmt::Display| WebError::Http(error.to_string());
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        let (mut sender, connection) =
            http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(|error| http(&error))?;
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", address.to_string())
            .header("connection", "close")
            .body(Empty::new())
            .map_err(|error| http(&error))?;
        request.headers_mut().extend(headers);
        let exchange = async {
            let (head, body) = sender.send_request(request).await.map_err(|error| http(&error))?.into_parts();
            let body = Limited::new(body, most).collect().await.map_err(|error| http(&error))?;
            Ok(Answer { status: head.status, body: body.to_bytes() })
        };
        // The connection is driven here and ends here: no task is left behind.
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        let mut is_open = true;
        loop {
            tokio::select! {
                answer = &mut exchange => return answer,
                _ = &mut connection, if is_open => is_open = false,
            }
        }
    };
    timeout(limit, attempt).await.unwrap_or(Err(WebError::Slow(limit)))
}
