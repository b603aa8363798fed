//! DestinationRule.

use super::schema::{Schema, array, map, object, string, strings};
use super::selector::selector;
use super::traffic_policy::traffic_policy;

pub(super) fn spec() -> Schema {
    let subset = object([
        ("name", string().about("What routes call it.")),
        ("labels", map(string()).about("Which of the service's endpoints belong to it.")),
        ("trafficPolicy", traffic_policy().about("What is different for it.")),
    ]);
    object([
        ("host", string().about("The service that this is about.")),
        ("trafficPolicy", traffic_policy().about("How it is called.")),
        (
            "subsets",
            array(subset.required(&["name"])).about("Named parts of the service, such as its versions."),
        ),
        ("exportTo", strings().about("The namespaces that see this; none: as the mesh's settings say.")),
        ("workloadSelector", selector()),
    ])
    .required(&["host"])
    .about("What happens to traffic for a service once it is routed there.")
}
