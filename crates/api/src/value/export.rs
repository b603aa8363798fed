//! Who may see a resource, and which gateways it is bound to.

use meltemi_names::Namespace;

use crate::value::from_text;

/// One entry of `exportTo`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportTo {
    /// `.`: the resource's own namespace.
    Own,
    /// `*`: every namespace.
    All,
    /// `~`: no namespace.
    Nobody,
    /// A namespace by name.
    Namespace(Namespace),
}

impl ExportTo {
    /// Parses an entry.
    ///
    /// # Errors
    /// When it is neither `.`, `*`, `~` nor a DNS label.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "." => Ok(Self::Own),
            "*" => Ok(Self::All),
            "~" => Ok(Self::Nobody),
            _ if is_dns_label(text) => Ok(Self::Namespace(text.into())),
            _ => Err(format!("`{text}` is not `.`, `*`, `~` or the name of a namespace")),
        }
    }
}

from_text!(ExportTo);

/// A gateway that a VirtualService is bound to (Istio: pilot/pkg/model/config.go).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GatewayName {
    /// `mesh`: all sidecars.
    Mesh,
    /// A Gateway resource.
    Named {
        /// None: the VirtualService's own namespace.
        namespace: Option<Namespace>,
        /// Its name.
        name: String,
    },
}

impl GatewayName {
    /// Parses `mesh`, `name`, `./name`, `namespace/name` or the legacy `name.namespace[.svc...]`.
    ///
    /// # Errors
    /// When a part is empty or no DNS label.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "mesh" {
            return Ok(Self::Mesh);
        }
        let (namespace, name) = match (text.split_once('/'), text.split_once('.')) {
            (Some((".", name)), _) => (None, name),
            (Some((namespace, name)), _) => (Some(namespace), name),
            (None, Some((name, rest))) => (rest.split('.').next(), name),
            (None, None) => (None, text),
        };
        // A Gateway's name may have dots (a DNS subdomain), its namespace not.
        if !namespace.is_none_or(is_dns_label) || !name.split('.').all(is_dns_label) {
            return Err(format!("`{text}` is not a gateway; write `mesh`, `name` or `namespace/name`"));
        }
        Ok(Self::Named { namespace: namespace.map(Namespace::from), name: name.to_owned() })
    }
}

from_text!(GatewayName);

/// RFC 1123: letters, digits and `-` inside, 1 to 63.
pub(crate) fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::{ExportTo, GatewayName};

    #[test]
    fn gateways_are_named_in_five_ways() {
        let read = |text| GatewayName::parse(text).unwrap();
        let named = |namespace: Option<&str>, name: &str| GatewayName::Named {
            namespace: namespace.map(Into::into),
            name: name.to_owned(),
        };
        assert_eq!(read("mesh"), GatewayName::Mesh);
        assert_eq!(read("gw"), named(None, "gw"));
        assert_eq!(read("./gw"), named(None, "gw"));
        assert_eq!(read("infra/gw"), named(Some("infra"), "gw"));
        assert_eq!(read("gw.infra.svc.cluster.local"), named(Some("infra"), "gw"));
        for bad in ["", "/", "a/", "/b", "a/b/c", "a b"] {
            assert!(GatewayName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn export_to_takes_three_signs_and_names() {
        assert_eq!(ExportTo::parse("*"), Ok(ExportTo::All));
        assert_eq!(ExportTo::parse("shop"), Ok(ExportTo::Namespace("shop".into())));
        assert!(ExportTo::parse("shop/x").is_err());
    }
}
