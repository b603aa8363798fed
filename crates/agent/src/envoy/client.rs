//! Questions to Envoy's admin interface.
//!
//! Where Envoy was told to take any free port, the file that it writes says which.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, Method};

use crate::HostPort;
use crate::client::{Answer, WebError, ask};

/// How long Envoy's main thread may take; it may be busy with a large configuration.
const LIMIT: Duration = Duration::from_secs(5);

/// The longest answer that is read.
pub(crate) const MOST_BYTES: usize = 64 << 20;

/// The admin interface.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    port: u16,
    address_file: PathBuf,
}

impl Admin {
    pub(crate) fn new(port: u16, address_file: PathBuf) -> Self {
        Self { port, address_file }
    }

    async fn address(&self) -> Result<HostPort, WebError> {
        if self.port != 0 {
            return Ok(HostPort { host: "127.0.0.1".to_owned(), port: self.port });
        }
        let text = tokio::fs::read_to_string(&self.address_file).await?;
        HostPort::parse(text.trim()).map_err(WebError::Http)
    }

    /// The counters and gauges whose names match.
    pub(crate) async fn stats(&self, filter: &str) -> Result<String, WebError> {
        let answer = self.ask(Method::GET, &format!("/stats?filter={filter}"), LIMIT).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// All metrics, in Prometheus' text form.
    pub(crate) async fn prometheus(&self, limit: Duration) -> Result<Answer, WebError> {
        self.ask(Method::GET, "/stats/prometheus", limit).await
    }

    /// Has listeners take no new connections, and asks clients on the present ones to go.
    pub(crate) async fn drain(&self, inbound_only: bool, skip_exit: bool) -> Result<(), WebError> {
        let inbound = if inbound_only { "inboundonly&" } else { "" };
        let skip = if skip_exit { "&skip_exit" } else { "" };
        self.ask(Method::POST, &format!("/drain_listeners?{inbound}graceful{skip}"), LIMIT).await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str, limit: Duration) -> Result<Answer, WebError> {
        let address = self.address().await?;
        let answer = ask(method, &address, path, HeaderMap::new(), limit, MOST_BYTES).await?;
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(WebError::Http(format!("it answered {} to {path}", answer.status)))
        }
    }
}
