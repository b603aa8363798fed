//! What stands between Meltemi and the API server, in words that say what to do.
//!
//! Must not know: when it is tried again.

use super::kinds::{SECRETS, Watched};
use meltemi_api::Finding;

/// The code of a missing permission, which no waiting mends.
pub(super) const FORBIDDEN: &str = "api-forbidden";

/// Why the objects of a kind cannot be followed now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    /// Of the finding; also what tells troubles apart that are the same for many kinds.
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

/// What an error means for who follows a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// 410: list again.
    Gone,
    /// 404: the kind is not served at this version.
    NotServed,
    /// Anything else.
    Trouble(Trouble),
}

/// Reads an answer's error, or one of the way there.
pub(super) fn meaning(error: &kube::Error, watched: &Watched) -> Meaning {
    let plural = watched.plural;
    match error {
        kube::Error::Api(status) => api(status, watched),
        kube::Error::Auth(error) => Meaning::Trouble(Trouble {
            code: "api-credentials",
            message: format!("the credentials for the API server cannot be had: {error}"),
            hint: "look at the kubeconfig's user, or at the pod's service account token".to_owned(),
        }),
        kube::Error::SerdeError(error) => Meaning::Trouble(Trouble {
            code: "api-answer",
            message: format!(
                "the API server's answer about {plural} is no JSON of the expected form: {error}"
            ),
            hint: "look whether something stands between Meltemi and the API server".to_owned(),
        }),
        error => Meaning::Trouble(unreachable(error)),
    }
}

fn api(status: &kube::core::Status, watched: &Watched) -> Meaning {
    let plural = watched.plural;
    let said = if status.message.is_empty() { status.reason.as_str() } else { status.message.as_str() };
    let (code, message, hint) = match status.code {
        404 => return Meaning::NotServed,
        410 => return Meaning::Gone,
        // A server that restarted, or one that lags, does not know that far: a list tells.
        _ if status.reason == "Expired" || said.contains("Too large resource version") => {
            return Meaning::Gone;
        }
        401 => (
            "api-credentials",
            "the API server does not accept Meltemi's credentials".to_owned(),
            "a token may have expired: renew the kubeconfig's, or look at the pod's service account"
                .to_owned(),
        ),
        403 if plural == SECRETS.plural => (
            FORBIDDEN,
            format!("Meltemi may not list and watch {plural}, so gateways get no certificates of them: {said}"),
            "grant it as the chart's value gateways.secrets does (deploy/helm/meltemi), or say that none are served: --gateway-secrets off"
                .to_owned(),
        ),
        403 => (
            FORBIDDEN,
            format!("Meltemi may not list and watch {plural}: {said}"),
            "grant it: the ClusterRole of the Helm chart (deploy/helm/meltemi) has all that is needed"
                .to_owned(),
        ),
        429 => (
            "api-busy",
            "the API server asks for patience (429)".to_owned(),
            "it is asked again later; look at its priority and fairness settings if this lasts".to_owned(),
        ),
        code => (
            "api-error",
            format!("the API server answered {code} about {plural}: {said}"),
            "it is asked again; look at the API server's log if this lasts".to_owned(),
        ),
    };
    Meaning::Trouble(Trouble { code, message, hint })
}

/// No answer: the way there is at fault.
pub(super) fn unreachable(error: &kube::Error) -> Trouble {
    let causes = causes(error);
    let has = |words: &[&str]| words.iter().any(|word| causes.contains(word));
    let (code, hint) =
        if has(&["UnknownIssuer", "invalid peer certificate", "NotValidForName", "certificate"]) {
            (
                "api-certificate",
                "give the kubeconfig the certificate-authority that signed the API server's certificate",
            )
        } else {
            ("api-unreachable", "look whether the API server runs and this machine can reach it")
        };
    Trouble { code, message: format!("the API server cannot be reached: {causes}"), hint: hint.to_owned() }
}

/// No answer in time.
pub(super) fn silent() -> Trouble {
    Trouble {
        code: "api-unreachable",
        message: "the API server does not answer".to_owned(),
        hint: "look whether the API server runs and this machine can reach it".to_owned(),
    }
}

/// Watches that end at once.
pub(super) fn brief() -> Trouble {
    Trouble {
        code: "api-unreachable",
        message: "the API server ends each watch at once".to_owned(),
        hint: "look whether something stands between Meltemi and the API server that cuts long answers"
            .to_owned(),
    }
}

/// A kind of Kubernetes' own that is not there.
pub(super) fn not_served(plural: &str) -> Trouble {
    Trouble {
        code: "api-error",
        message: format!("the API server does not serve {plural}"),
        hint: "look whether this is a Kubernetes API server, of a version since 1.21".to_owned(),
    }
}

/// Lists that are older than what was seen.
pub(super) fn stale(plural: &str) -> Trouble {
    Trouble {
        code: "api-stale",
        message: format!("the API server's list of {plural} is older than what it said before"),
        hint: "it is asked again for a minute, and then believed; if etcd was not restored from a copy, one of several API servers lags"
            .to_owned(),
    }
}

/// The innermost cause: the outer ones say only that something failed.
fn causes(error: &kube::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    // rustls refers to its manual.
    text.split_once(": https://").map_or(text.as_str(), |(said, _)| said).to_owned()
}

impl Trouble {
    /// It is the server's, or the way to it, and would be told alike of every kind: which ones met it so far changes from moment to moment.
    pub(super) fn is_of_all(&self) -> bool {
        matches!(self.code, "api-unreachable" | "api-certificate" | "api-credentials" | "api-busy")
    }
}

/// One finding for a trouble, with the kinds that have it where it is theirs.
pub(super) fn finding(trouble: &Trouble, plurals: &[&str], is_synced: bool) -> Finding {
    let in_force = if is_synced {
        "what was read before; proxies are served from that"
    } else {
        "nothing: no proxy is served before what there is is known"
    };
    let message = if trouble.is_of_all() {
        trouble.message.clone()
    } else {
        format!("{} ({})", trouble.message, plurals.join(", "))
    };
    Finding::warning(trouble.code, message).hint(trouble.hint.clone()).in_force(in_force)
}
