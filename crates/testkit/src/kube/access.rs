//! Who talks to the API server, and by which way: address, trust and token, as a kubeconfig or as a client.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use super::Cluster;

/// The shortest life of a token that the API server gives.
const SHORTEST: Duration = Duration::from_secs(600);

/// A way to the API server: where it is, who vouches for it, and as whom to ask.
#[derive(Clone)]
pub struct Access {
    server: String,
    authority: String,
    token: String,
}

impl Access {
    pub(super) fn new(server: String, authority: &str, token: String) -> Self {
        Self { server, authority: authority.to_owned(), token }
    }

    /// The same through another address (`https://127.0.0.1:1234`): that of a proxy, say.
    #[must_use]
    pub fn through(&self, server: &str) -> Self {
        Self { server: server.to_owned(), ..self.clone() }
    }

    /// The same with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same with trust in another certificate authority (PEM).
    #[must_use]
    pub fn with_authority(&self, certificate: &str) -> Self {
        Self { authority: certificate.to_owned(), ..self.clone() }
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The certificate of the authority that signs the server's certificate, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The server's address, as a URL.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// As the text of a kubeconfig.
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": self.server,
                "certificate-authority-data": STANDARD.encode(&self.authority),
            }}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        })
        .to_string()
    }

    /// As a client. It belongs to the runtime that it is made in.
    ///
    /// # Errors
    /// When the address or the certificate is none.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }
}

impl Cluster {
    /// As the administrator, who may do everything.
    ///
    /// # Errors
    /// Never in a cluster that started.
    pub async fn admin(&self) -> Result<Client> {
        self.access().client().await
    }

    /// A kubeconfig with `access`, in a file of its own.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn kubeconfig_of(&self, access: &Access) -> Result<PathBuf> {
        let path = self.folder().join(format!("{}.kubeconfig", self.unique("access")));
        tokio::fs::write(&path, access.kubeconfig()).await?;
        Ok(path)
    }

    /// As a service account, with a token of it that is good for `duration` (10 minutes at least).
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn access_for(&self, namespace: &str, account: &str, duration: Duration) -> Result<Access> {
        let token = self.request_token(namespace, account, &[], None, duration).await?;
        Ok(self.access().with_token(&token))
    }

    /// The kubeconfig of a service account, in a file of its own.
    ///
    /// # Errors
    /// As [`Cluster::access_for`].
    pub async fn kubeconfig_for(
        &self,
        namespace: &str,
        account: &str,
        duration: Duration,
    ) -> Result<PathBuf> {
        self.kubeconfig_of(&self.access_for(namespace, account, duration).await?).await
    }

    /// A token of a service account for those audiences (none: the API server itself), bound to the pod of that name
    /// if one is given: as the kubelet projects it into that pod.
    ///
    /// # Errors
    /// When there is no such account or pod, or the pod runs as another account.
    pub async fn token(
        &self,
        namespace: &str,
        account: &str,
        audiences: &[&str],
        pod: Option<&str>,
    ) -> Result<String> {
        self.request_token(namespace, account, audiences, pod, Duration::from_secs(3600)).await
    }

    async fn request_token(
        &self,
        namespace: &str,
        account: &str,
        audiences: &[&str],
        pod: Option<&str>,
        duration: Duration,
    ) -> Result<String> {
        let api: Api<ServiceAccount> = Api::namespaced(self.admin().await?, namespace);
        let bound = pod.map(|pod| json!({"apiVersion": "v1", "kind": "Pod", "name": pod}));
        let request: TokenRequest = serde_json::from_value(json!({"spec": {
            "audiences": audiences,
            "boundObjectRef": bound,
            "expirationSeconds": duration.max(SHORTEST).as_secs(),
        }}))?;
        let answer = api
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("a token of {namespace}/{account}"))?;
        answer.status.and_then(|status| status.token).context("the API server answered without a token")
    }
}
