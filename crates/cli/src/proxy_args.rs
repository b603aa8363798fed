//! A proxy described on the command line, and its Envoy node.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use meltemi_agent::envoy::node::Node;
use serde_json::Value;

/// Which proxy.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// The proxy as NAME.NAMESPACE.
    #[arg(long = "proxy", value_name = "NAME.NS", value_parser = proxy_id)]
    pub(crate) id: ProxyId,
    /// A label of its workload; repeat it for more.
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// The workload's address.
    #[arg(long, value_name = "A", default_value = "127.0.0.1")]
    pub(crate) ip: IpAddr,
    /// The proxy is a gateway (Istio: `proxy router`): it serves the Gateways whose selector selects its labels.
    #[arg(long)]
    pub(crate) gateway: bool,
    /// How traffic reaches the proxy.
    #[arg(long, value_enum, default_value = "redirect", ignore_case = true)]
    pub(crate) interception: InterceptionArg,
}

/// A name and a namespace.
#[derive(Clone, Debug)]
pub(crate) struct ProxyId {
    pub(crate) name: String,
    pub(crate) namespace: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InterceptionArg {
    #[value(name = "REDIRECT")]
    Redirect,
    #[value(name = "NONE")]
    None,
}

pub(crate) fn proxy_id(text: &str) -> Result<ProxyId, String> {
    match text.rsplit_once('.') {
        Some((name, namespace)) if !name.is_empty() && !namespace.is_empty() => {
            Ok(ProxyId { name: name.to_owned(), namespace: namespace.to_owned() })
        }
        _ => Err("write it as NAME.NAMESPACE, as in client.default".to_owned()),
    }
}

pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

impl ProxyArgs {
    /// The node by which Envoy introduces itself (Istio: pilot/pkg/model/context.go), as JSON.
    pub(crate) fn node(&self) -> Value {
        let ProxyId { name, namespace } = &self.id;
        let interception = match self.interception {
            InterceptionArg::Redirect => "REDIRECT",
            InterceptionArg::None => "NONE",
        };
        let node = Node {
            kind: if self.gateway { "router" } else { "sidecar" },
            addresses: vec![self.ip],
            name: name.clone(),
            namespace: namespace.clone(),
            dns_domain: format!("{namespace}.svc.cluster.local"),
            labels: self.labels.iter().cloned().collect(),
            metadata: [
                ("INTERCEPTION_MODE".to_owned(), interception.into()),
                ("WORKLOAD_NAME".to_owned(), name.as_str().into()),
            ]
            .into_iter()
            .collect(),
            locality: Vec::new(),
            workload: name.clone(),
        };
        node.to_json()
    }
}
