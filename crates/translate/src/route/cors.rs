//! What a route tells browsers about calls from other sites.

use meltemi_api::virtual_service::{CorsPolicy, UnmatchedPreflights};
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::core::v3::RuntimeFractionalPercent;
use meltemi_proto::envoy::extensions::filters::http::cors::v3::CorsPolicy as Config;
use meltemi_proto::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use meltemi_proto::google::protobuf::Any;

use super::wire;

/// The HTTP filter that answers preflights; it stands without a policy in each HTTP connection manager.
pub(super) const FILTER: &str = "envoy.filters.http.cors";

/// The filter's settings for a route (Istio: networking/core/route, `TranslateCORSPolicy`).
pub(super) fn config(policy: &CorsPolicy) -> Any {
    let all = FractionalPercent { numerator: 100, denominator: DenominatorType::Hundred.into() };
    pack(&Config {
        allow_origin_string_match: policy.origins().iter().filter_map(wire::string_matcher).collect(),
        allow_methods: policy.allow_methods.join(","),
        allow_headers: policy.allow_headers.join(","),
        expose_headers: policy.expose_headers.join(","),
        max_age: policy.max_age.map(|age| age.0.as_secs().to_string()).unwrap_or_default(),
        allow_credentials: policy.allow_credentials.map(wire::boolean),
        filter_enabled: Some(RuntimeFractionalPercent {
            default_value: Some(all),
            runtime_key: String::new(),
        }),
        forward_not_matching_preflights: Some(wire::boolean(
            policy.unmatched_preflights == UnmatchedPreflights::Forward,
        )),
        ..Config::default()
    })
}
