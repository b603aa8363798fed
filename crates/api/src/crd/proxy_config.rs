//! ProxyConfig.

use super::schema::{Schema, int32, map, object, string};
use super::selector::selector;

pub(super) fn spec() -> Schema {
    object([
        ("selector", selector()),
        ("concurrency", int32().at_least(0).nullable().about("Worker threads; 0: one for each core.")),
        ("environmentVariables", map(string().max_length(2048))),
        ("image", object([("imageType", string())])),
    ])
    .about("How proxies are started.")
}
