//! What a TokenReview says of a token, by Istio's rules. Pure.
//!
//! Source: istio: security/pkg/k8s/tokenreview/k8sauthn.go.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use meltemi_ca::entitlement::{Caller, NotEntitled, PodRef, Proof, Rules};

/// The audience that a token must be made for (Istio: TOKEN_AUDIENCES).
pub(super) const AUDIENCE: &str = "istio-ca";

/// The group of every service account (Kubernetes: "Authenticating", service account tokens).
const ACCOUNTS: &str = "system:serviceaccounts";

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// The longest token that is looked at. One of an API server is about 1 kB.
pub(super) const MOST_BYTES: usize = 16 << 10;

/// Whether a text may be a token at all, and until when it says that it is good: read without a proof, only so that nothing is believed
/// for longer. None in it: it does not say.
///
/// # Errors
/// When it is no token.
pub(super) fn expiry(token: &str) -> Result<Option<SystemTime>, &'static str> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: Option<f64>,
    }
    if token.len() > MOST_BYTES {
        return Err("the token is longer than any of Kubernetes");
    }
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the token is no JSON Web Token");
    };
    let text = URL_SAFE_NO_PAD.decode(claims).map_err(|_| "the token is no JSON Web Token")?;
    let claims: Claims = serde_json::from_slice(&text).map_err(|_| "the token is no JSON Web Token")?;
    let Some(exp) = claims.exp else { return Ok(None) };
    let since = Duration::try_from_secs_f64(exp).map_err(|_| "the token ends at no moment")?;
    SystemTime::UNIX_EPOCH.checked_add(since).map(Some).ok_or("the token ends at no moment")
}

/// A service account, and the pod that its token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    namespace: String,
    name: String,
    pod: Option<PodRef>,
}

impl Account {
    /// Who that is by the mesh's rules of now.
    ///
    /// # Errors
    /// When its name is none of a workload.
    pub(super) fn caller(&self, rules: &Rules) -> Result<Caller, NotEntitled> {
        let identity = rules.identity(&self.namespace, &self.name)?;
        Ok(Caller { identity, proof: Proof::KubernetesToken, pod: self.pod.clone() })
    }
}

/// Whom the API server says that a token is of.
///
/// # Errors
/// Why nobody is authenticated; for the log.
pub(super) fn account(status: &TokenReviewStatus) -> Result<Account, String> {
    if let Some(error) = status.error.as_ref().filter(|error| !error.is_empty()) {
        return Err(format!("the API server refuses the token: {error}"));
    }
    if status.authenticated != Some(true) {
        return Err("the API server does not know the token".to_owned());
    }
    // A server that knows no audiences answers without any: what it says is about a token for anybody.
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(format!("the API server does not say that the token is for `{AUDIENCE}`"));
    }
    let user = status.user.as_ref().ok_or("the API server names no user")?;
    if !user.groups.iter().flatten().any(|group| group == ACCOUNTS) {
        return Err("the token is not of a service account".to_owned());
    }
    let name = user.username.as_deref().unwrap_or_default();
    let parts: Vec<&str> = name.split(':').collect();
    let ["system", "serviceaccount", namespace, account] = *parts else {
        return Err(format!("the token's user `{name}` is no service account"));
    };
    let extra = |key: &str| user.extra.as_ref()?.get(key)?.first().cloned();
    let pod = extra(POD_NAME).zip(extra(POD_UID)).map(|(name, uid)| PodRef { name, uid });
    Ok(Account { namespace: namespace.to_owned(), name: account.to_owned(), pod })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rules() -> Rules {
        Rules::new("cluster.local", [], [])
    }

    fn status(change: impl FnOnce(&mut Value)) -> TokenReviewStatus {
        let mut value = json!({
            "authenticated": true, "audiences": ["istio-ca"],
            "user": {
                "username": "system:serviceaccount:shop:cart",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"],
                "extra": {
                    "authentication.kubernetes.io/pod-name": ["cart-1"],
                    "authentication.kubernetes.io/pod-uid": ["u-1", "other"],
                }
            }
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_pods_token_names_its_account_and_its_pod() {
        let found = account(&status(|_| {})).unwrap().caller(&rules()).unwrap();
        assert_eq!(found.identity.to_string(), "spiffe://cluster.local/ns/shop/sa/cart");
        assert_eq!(found.pod, Some(PodRef { name: "cart-1".to_owned(), uid: "u-1".to_owned() }));
        let unbound = status(|value| value["user"]["extra"] = json!(null));
        assert_eq!(account(&unbound).unwrap().pod, None);
    }

    type Change = fn(&mut Value);

    #[test]
    fn whatever_is_not_as_it_must_be_authenticates_nobody() {
        let changes: [(&str, Change); 10] = [
            ("invalid bearer token", |v| v["error"] = json!("invalid bearer token")),
            ("does not know", |v| v["authenticated"] = json!(false)),
            ("does not know", |v| v["authenticated"] = json!(null)),
            ("istio-ca", |v| v["audiences"] = json!(["other"])),
            ("istio-ca", |v| v["audiences"] = json!(null)),
            ("no user", |v| v["user"] = json!(null)),
            ("not of a service account", |v| v["user"]["groups"] = json!(["system:authenticated"])),
            ("no service account", |v| v["user"]["username"] = json!("system:serviceaccount:shop")),
            ("no service account", |v| v["user"]["username"] = json!("system:serviceaccount:shop:cart:x")),
            ("no service account", |v| v["user"]["username"] = json!("system:node:shop:cart")),
        ];
        for (said, change) in changes {
            let error = account(&status(change)).unwrap_err();
            assert!(error.contains(said), "{said}: {error}");
        }
        let odd = status(|v| v["user"]["username"] = json!("system:serviceaccount:shop:ca/rt"));
        assert!(account(&odd).unwrap().caller(&rules()).is_err());
    }

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_end_of_a_token_is_read_and_what_is_none_is_no_token() {
        let at = |seconds| Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        assert_eq!(expiry(&token(r#"{"exp": 1700000000, "aud": ["x"]}"#)), at(1_700_000_000));
        assert_eq!(expiry(&token("{}")), Ok(None));
        for bad in [r#"{"exp": -1}"#, r#"{"exp": 1e300}"#, r#"{"exp": "soon"}"#, "[]", "", "no"] {
            assert!(expiry(&token(bad)).is_err(), "{bad}");
        }
        for bad in ["", "a.b", "a.b.c.d", "....", "a.!.c"] {
            assert!(expiry(bad).is_err(), "{bad}");
        }
        assert!(expiry(&"a".repeat(MOST_BYTES + 1)).is_err());
    }
}
