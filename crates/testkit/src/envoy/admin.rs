//! Questions to Envoy's admin interface.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::http::{Answer, Connect, Request};

/// The admin interface of one Envoy.
#[derive(Clone)]
pub struct Admin {
    address: SocketAddr,
    connect: Connect,
}

impl Admin {
    /// The admin interface at `address`, reached through `connect`.
    pub fn new(address: SocketAddr, connect: Connect) -> Self {
        Self { address, connect }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether Envoy serves traffic: its clusters and listeners have come, and are warm.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.ask(Request::get("/ready")).await?.status == 200)
    }

    /// A counter or gauge by its full name; 0 where Envoy has none of that name (it makes many on their first use).
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let stats = self.stats(&format!("^{}$", escape(name))).await?;
        Ok(stats.into_iter().find(|(found, _)| found == name).map_or(0, |(_, value)| value))
    }

    /// The counters and gauges whose names match the regular expression `filter`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn stats(&self, filter: &str) -> Result<Vec<(String, u64)>> {
        let text = self.text(&format!("/stats?filter={}", percent(filter))).await?;
        Ok(text
            .lines()
            .filter_map(|line| line.rsplit_once(": "))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }

    /// The configuration in force and, with `include_eds`, the endpoints.
    ///
    /// # Errors
    /// When it does not answer, or not in JSON.
    pub async fn config_dump(&self) -> Result<Value> {
        self.json("/config_dump?include_eds").await
    }

    /// The clusters with their endpoints and the health of these.
    ///
    /// # Errors
    /// When it does not answer, or not in JSON.
    pub async fn clusters(&self) -> Result<Value> {
        self.json("/clusters?format=json").await
    }

    /// The certificates in use.
    ///
    /// # Errors
    /// When it does not answer, or not in JSON.
    pub async fn certs(&self) -> Result<Value> {
        self.json("/certs").await
    }

    /// The address that the listener of that name is bound to: for listeners that ask for port 0.
    ///
    /// # Errors
    /// When there is none of that name, or it is bound to no IP address.
    pub async fn listener(&self, name: &str) -> Result<SocketAddr> {
        let listeners = self.json("/listeners?format=json").await?;
        let listener = listeners["listener_statuses"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|listener| listener["name"] == name)
            .with_context(|| format!("no listener is called `{name}`: {listeners}"))?;
        let socket = &listener["local_address"]["socket_address"];
        let (host, port) = (socket["address"].as_str(), socket["port_value"].as_u64());
        let (Some(host), Some(port)) = (host, port) else {
            bail!("`{name}` is bound to no IP address: {listener}")
        };
        Ok(SocketAddr::new(host.parse()?, u16::try_from(port)?))
    }

    /// What a GET of `path` answers, as text.
    ///
    /// # Errors
    /// When it does not answer with 200.
    pub async fn text(&self, path: &str) -> Result<String> {
        let answer = self.ask(Request::get(path)).await?;
        if answer.status != 200 {
            bail!("Envoy's admin interface answered {} to {path}: {}", answer.status, answer.text());
        }
        Ok(answer.text())
    }

    /// What a GET of `path` answers, as JSON.
    ///
    /// # Errors
    /// When it does not answer with 200 and JSON.
    pub async fn json(&self, path: &str) -> Result<Value> {
        let text = self.text(path).await?;
        serde_json::from_str(&text).with_context(|| format!("Envoy's answer to {path} is no JSON"))
    }

    /// Tells Envoy to end.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn quit(&self) -> Result<()> {
        self.ask(Request::new("POST", "/quitquitquit")).await.map(drop)
    }

    async fn ask(&self, request: Request) -> Result<Answer> {
        request
            .send_through(&self.connect, self.address)
            .await
            .with_context(|| format!("asking Envoy's admin interface at {}", self.address))
    }
}

/// `text` as a regular expression that matches only itself.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if !letter.is_alphanumeric() && letter != '_' {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// `text` for a URL's query.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_name_is_looked_up_as_it_stands() {
        assert_eq!(escape("cluster.outbound|80||a.b;.x"), r"cluster\.outbound\|80\|\|a\.b\;\.x");
        assert_eq!(percent(r"a\.b|1"), "a%5C.b%7C1");
    }
}
