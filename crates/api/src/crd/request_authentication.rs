//! RequestAuthentication.

use super::schema::{Schema, array, boolean, duration, object, one_of, string};
use super::selector::{selector, target_ref, target_refs};

pub(super) fn spec() -> Schema {
    object([
        ("selector", selector()),
        ("targetRef", target_ref()),
        ("targetRefs", target_refs()),
        ("jwtRules", array(jwt_rule()).max_items(4096).about("Whose tokens are taken.")),
    ])
    .only_one(&["selector", "targetRef", "targetRefs"])
    .about("Which tokens of users are checked, and against what.")
}

fn jwt_rule() -> Schema {
    let named = || array(string().not_empty());
    let uri = string().not_empty().max_length(2048).rule(
        "url(self).getScheme() in ['http', 'https']",
        "must be a URL that begins with http:// or https://",
    );
    let from_header = object([("name", string().not_empty()), ("prefix", string())]);
    let to_header = object([
        ("header", string().not_empty().pattern("^[-_A-Za-z0-9]+$")),
        ("claim", string().not_empty()),
    ]);
    object([
        ("issuer", string().not_empty().about("Who issues the tokens.")),
        ("audiences", named().about("Whom they are for.")),
        ("jwksUri", uri.clone().about("Where the keys are.")),
        // Both spellings are in Istio's schema.
        ("jwks_uri", uri),
        ("jwks", string().about("The keys themselves.")),
        ("fromHeaders", array(from_header.required(&["name"]))),
        ("fromParams", named()),
        ("fromCookies", named()),
        ("outputPayloadToHeader", string()),
        ("outputClaimToHeaders", array(to_header.required(&["header", "claim"]))),
        ("forwardOriginalToken", boolean()),
        ("timeout", duration()),
        ("presence", one_of(&["OPTIONAL", "REQUIRED"])),
        ("spaceDelimitedClaims", named().max_items(64)),
    ])
    .only_one(&["jwks", "jwksUri", "jwks_uri"])
}
