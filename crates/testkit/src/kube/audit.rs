//! What service accounts asked the API server for: from its audit log.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Cluster;

/// One request, as a rule of a role speaks of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` and so on.
    pub verb: String,
    /// The API group; empty for the core one.
    pub group: String,
    /// The resource, and behind a slash the subresource, if any. Empty for a path that is no resource.
    pub resource: String,
    /// The namespace; empty for all of them, and for what is in none.
    pub namespace: String,
    /// The name; empty where the request names none.
    pub name: String,
    /// What was answered: 403 is one that no role allows.
    pub status: u16,
}

impl Cluster {
    /// Each different request of a service account so far, in the order of their fields. The requests of one that is
    /// still answered (a watch) count from their first byte.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn asked_by(&self, namespace: &str, account: &str) -> Result<BTreeSet<Asked>> {
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let text = match tokio::fs::read_to_string(self.folder().join("audit.log")).await {
            Ok(text) => text,
            // Nobody asked for anything yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context("reading the audit log"),
        };
        let mut asked = BTreeSet::new();
        // The last line may be half written.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let event: Event = serde_json::from_str(line).context("a line of the audit log")?;
            if event.user.username == user {
                asked.insert(event.asked());
            }
        }
        Ok(asked)
    }
}

/// A line of the log, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    code: u16,
}

impl Event {
    fn asked(self) -> Asked {
        let Object { resource, subresource, namespace, name, api_group } = self.object_ref;
        let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
        Asked {
            verb: self.verb,
            group: api_group,
            resource,
            namespace,
            name,
            status: self.response_status.code,
        }
    }
}
