//! What the status of every Istio kind holds.

use super::schema::{Schema, array, int_or_string, object, one_of, string};

/// The schema of `status`. Fields beyond it are kept: Istio writes some that its own schema does not list.
pub(super) fn status() -> Schema {
    let condition = object([
        ("type", string().about("What the condition is about.")),
        ("status", string().about("True, False or Unknown.")),
        ("reason", string().about("Why, in one word.")),
        ("message", string().about("Why, for people.")),
        ("lastProbeTime", string().format("date-time").about("When it was last looked at.")),
        (
            "lastTransitionTime",
            string().format("date-time").about("When the condition's status last changed."),
        ),
        // Numbers of 64 bits: Istio's controllers write them as text.
        ("observedGeneration", int_or_string().about("The generation of the object that this is about.")),
    ]);
    let message = object([
        ("type", object([("name", string()), ("code", string().about("Such as IST0101."))])),
        ("level", one_of(&["UNKNOWN", "ERROR", "WARNING", "INFO"])),
        ("documentationUrl", string()),
    ]);
    object([
        ("conditions", array(condition).about("What controllers say of this object.")),
        (
            "observedGeneration",
            int_or_string().about("The generation that the validation messages are about."),
        ),
        ("validationMessages", array(message).about("What an analysis of the whole configuration found.")),
    ])
    .open()
    .about("Written by controllers, read by people and tools.")
}
