//! Types of fields that hold no value: known to Istio or Kubernetes, but not read here.
//!
//! A field's type says whether it is read, so there is no second list of known fields. Must not know: what the fields mean.
//! Invariant: a marker holds nothing of the field but whether it was given; each [`not_yet`] marker met becomes a finding.

use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};

/// The name under which a marker of [`not_yet`] introduces itself to the deserializer; what happens instead follows it.
pub(crate) const NOT_YET: &str = "not supported yet: ";

/// A field that has no meaning for the mesh, or that others read: taken and dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Self)
    }
}

/// Drops the value of a field that is not supported yet.
struct Dropped;

impl<'de> Visitor<'de> for Dropped {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ())
    }
}

/// Declares markers: fields that Istio knows and Meltemi does not translate yet, each with what happens instead.
macro_rules! not_yet {
    ($($name:ident: $instead:literal)*) => {
        #[cfg(test)]
        pub(super) const INSTEAD: &[&str] = &[$($instead),*];

        $(
            #[doc = concat!("Not supported yet: ", $instead, ".")]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name(bool);

            impl $name {
                /// Whether the field was given.
                pub fn is_given(self) -> bool {
                    self.0
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    deserializer
                        .deserialize_newtype_struct(concat!("not supported yet: ", $instead), Dropped)
                        .map(|()| Self(true))
                }
            }
        )*
    };
}

/// Fields that are not supported yet.
pub mod not_yet {
    use super::{Deserialize, Deserializer, Dropped};

    not_yet! {
        BackendUtilization: "the default, LEAST_REQUEST, is used"
        MeshSetting: "the mesh behaves as if the field were absent"
        TargetRef: "gateways and waypoints are not configured by it, and sidecars have nothing of it"
        ReportingInterval: "bytes of TCP connections are added when a connection ends"
        CustomMetric: "there are no metrics but Istio's own"
        Provider: "nothing is sent to it"
        EnvironmentHeader: "the header is sent without a value"
        DynatraceApi: "the sampler asks the service that spans are sent to"
        DefaultEndpoint: "traffic goes where VirtualServices send it"
        CaOfCertificate: "clients are verified by caCertificates beside the list"
        PatchTargets: "the patches are for no proxy"
        FilterClass: "filters are put where the operation says, as in Istio"
        PatchPortName: "listeners are matched without it, as in Istio"
        PatchTransportSocket: "chains are matched without it, as in Istio"
    }
}

#[cfg(test)]
mod tests {
    use super::{NOT_YET, Unread, not_yet};

    #[test]
    fn a_marker_takes_any_value_and_keeps_that_it_was_given() {
        assert_eq!(size_of::<Unread>(), 0);
        serde_json::from_str::<Unread>(r#"{"a": [1, null]}"#).unwrap();
        assert!(
            serde_json::from_str::<not_yet::BackendUtilization>(r#"[{"match": []}]"#).unwrap().is_given()
        );
        assert!(!not_yet::BackendUtilization::default().is_given());
        assert!("not supported yet: x".starts_with(NOT_YET));
    }

    #[test]
    fn docs_compat_md_says_of_each_what_happens_instead() {
        let page = include_str!("../../../docs/compat.md").replace('`', "");
        let page: Vec<&str> = page.split_whitespace().collect();
        let page = page.join(" ");
        let unsaid: Vec<_> = not_yet::INSTEAD.iter().filter(|instead| !page.contains(**instead)).collect();
        assert!(unsaid.is_empty(), "{unsaid:?}");
    }
}
