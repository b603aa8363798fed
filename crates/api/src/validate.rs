//! The rules within one object: what Istio's admission refuses or warns of, with the field and what to do.
//!
//! Knows: the typed object. Must not know: other objects, files.
//! Invariant: an error here means that Istio would not take the object either (pkg/config/validation); what Envoy can run and Istio
//! takes is a warning at most.

use crate::Object;
use crate::finding::Finding;

/// Findings on one object, without places.
pub(crate) fn object(_object: &Object) -> Vec<Finding> {
    Vec::new()
}
