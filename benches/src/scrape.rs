//! One page over HTTP, and the numbers of a metrics page.
//!
//! Knows: HTTP/1.1, the OpenMetrics text. Must not know: what is measured.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Asks for a page.
///
/// # Errors
/// When nobody answers there.
pub async fn page(address: SocketAddr, path: &str) -> Result<(StatusCode, String)> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    let request = Request::get(path).header("host", address.to_string()).body(Empty::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(connection);
    tokio::select! {
        answer = exchange => answer,
        Err(error) = &mut connection => Err(error.into()),
    }
}

/// The numbers of a metrics page, by name; those that differ in labels alone are added up.
#[derive(Clone, Debug, Default)]
pub struct Numbers(BTreeMap<String, f64>);

impl Numbers {
    /// Reads a page.
    pub fn parse(page: &str) -> Self {
        let mut numbers = BTreeMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split('{').next().unwrap_or(name);
            if let Ok(value) = value.parse::<f64>() {
                *numbers.entry(name.to_owned()).or_default() += value;
            }
        }
        Self(numbers)
    }

    /// How much `name` grew since `earlier`; none where the server has no such number.
    pub fn grown(&self, name: &str, earlier: &Self) -> Option<f64> {
        let now = self.0.get(name)?;
        Some(now - earlier.0.get(name).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_grows_over_all_its_labels() {
        let earlier = Numbers::parse("# TYPE x counter\nx_total{type=\"CDS\"} 2\nx_total{type=\"EDS\"} 1\n");
        let now = Numbers::parse("x_total{type=\"CDS\"} 5\nx_total{type=\"EDS\"} 1.5\ny_sum 0.25\n# EOF\n");
        assert_eq!(now.grown("x_total", &earlier), Some(3.5));
        assert_eq!(now.grown("y_sum", &earlier), Some(0.25));
        assert_eq!(now.grown("z", &earlier), None);
    }
}
