//! Who calls or is called, and what is called, each as one text. Must not know where the facts come from.

/// The labels that say what a workload is called, first match first (Istio: pkg/kube/labels/labels.go).
const CANONICAL_NAME: [&str; 3] = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
/// The same for its revision.
const CANONICAL_REVISION: [&str; 3] =
    ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];

/// A workload as metrics know it. Empty: not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload<'a> {
    /// Of the Deployment, or of the WorkloadEntry.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// What it is called across its revisions.
    pub canonical_name: &'a str,
    /// Which revision it is; empty: the only one, `latest`.
    pub canonical_revision: &'a str,
    /// The cluster that it runs in.
    pub cluster: &'a str,
    /// Its label `app`.
    pub app: &'a str,
    /// Its label `version`.
    pub version: &'a str,
}

impl<'a> Workload<'a> {
    /// The workload of that name, by its labels.
    pub fn labelled(
        name: &'a str,
        namespace: &'a str,
        cluster: &'a str,
        label: impl Fn(&str) -> Option<&'a str>,
    ) -> Self {
        let revision = CANONICAL_REVISION.into_iter().find_map(&label).unwrap_or_default();
        Self {
            name,
            namespace,
            canonical_name: CANONICAL_NAME.into_iter().find_map(&label).unwrap_or(name),
            canonical_revision: if revision == "latest" { "" } else { revision },
            cluster,
            app: label("app").unwrap_or_default(),
            version: label("version").unwrap_or_default(),
        }
    }

    /// `name;namespace;canonical name;canonical revision;cluster`, as in Istio's endpoint metadata (Istio:
    /// pilot/pkg/networking/util/util.go), and `;app;version` after it only where these labels say otherwise than the canonical ones.
    pub fn packed(&self) -> String {
        let Self { name, namespace, canonical_name, canonical_revision, cluster, app, version } = *self;
        let own = |label: &'a str, canonical| if label == canonical { "" } else { label };
        let (app, version) = (own(app, canonical_name), own(version, canonical_revision));
        let mut packed = pack(&[name, namespace, canonical_name, canonical_revision, cluster]);
        if !app.is_empty() || !version.is_empty() {
            packed.push(';');
            packed.push_str(&pack(&[app, version]));
        }
        packed
    }
}

/// What is called: `host;name;namespace` of the service.
pub fn service(host: &str, name: &str, namespace: &str) -> String {
    pack(&[host, name, namespace])
}

/// The parts with `;` between them. A part that has one itself (no name in Kubernetes may) gets another sign for it.
fn pack(parts: &[&str]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| part.replace(';', "_")).collect();
    parts.join(";")
}

#[cfg(test)]
mod tests {
    use super::{Workload, service};

    fn packed(labels: &[(&str, &'static str)]) -> String {
        let label = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        Workload::labelled("reviews-v2", "shop", "Kubernetes", label).packed()
    }

    #[test]
    fn a_workload_is_one_text_of_five_parts_as_in_istio() {
        assert_eq!(packed(&[("app", "reviews"), ("version", "v2")]), "reviews-v2;shop;reviews;v2;Kubernetes");
        assert_eq!(packed(&[]), "reviews-v2;shop;reviews-v2;;Kubernetes");
        assert_eq!(packed(&[("version", "latest")]), "reviews-v2;shop;reviews-v2;;Kubernetes;;latest");
    }

    #[test]
    fn labels_that_say_otherwise_than_the_canonical_ones_follow() {
        let labels = [("app.kubernetes.io/name", "shop-reviews"), ("app", "reviews"), ("version", "v2")];
        assert_eq!(packed(&labels), "reviews-v2;shop;shop-reviews;v2;Kubernetes;reviews;");
        let labels = [("app", "reviews"), ("app.kubernetes.io/version", "1.2.3"), ("version", "v2")];
        assert_eq!(packed(&labels), "reviews-v2;shop;reviews;1.2.3;Kubernetes;;v2");
    }

    #[test]
    fn no_part_can_be_taken_for_two() {
        assert_eq!(service("a;b", "c", "d"), "a_b;c;d");
    }
}
