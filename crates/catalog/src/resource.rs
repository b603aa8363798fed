//! One resource, encoded once, shared by every stream that needs it.

use std::borrow::Borrow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use meltemi_names::{ObjectKey, TypeUrl, Version};

use crate::body::{Body, varint};
use crate::form::Form;

/// The name of a resource on the wire. Clones by pointer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(Arc<str>);

impl ResourceName {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// About how many bytes a response has for it, with a body of so many: a version and tags come with each.
    pub fn wire_len(&self, body: usize) -> usize {
        self.0.len() + 160 + body
    }
}

impl From<&str> for ResourceName {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for ResourceName {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for ResourceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ResourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl std::fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&*self.0, f)
    }
}

/// A resource that another one refers to, and must not be used without.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Need {
    /// Its type: a route needs clusters, a cluster its endpoints, a listener its routes.
    pub type_url: TypeUrl,
    /// Its name.
    pub name: ResourceName,
}

/// One encoded resource. Everything that two clients share exists once: the body, and the frames around it.
#[derive(Debug)]
pub struct Resource {
    type_url: TypeUrl,
    name: ResourceName,
    version: Version,
    mark: u64,
    body: Body,
    needs: Box<[Need]>,
    parent: Option<ResourceName>,
    origin: Box<[ObjectKey]>,
    instead: Option<Arc<Resource>>,
    delta_head: OnceLock<Bytes>,
    sotw_head: OnceLock<Bytes>,
}

impl Resource {
    /// A resource of these bytes. `version` must be made from the bytes alone ([`Version::of`] or, for assembled ones,
    /// [`Version::of_parts`]).
    pub fn new(type_url: TypeUrl, name: ResourceName, version: Version, body: Body) -> Self {
        let mark = version.mark(name.as_str());
        Self {
            type_url,
            name,
            version,
            mark,
            body,
            needs: Box::default(),
            parent: None,
            origin: Box::default(),
            instead: None,
            delta_head: OnceLock::new(),
            sotw_head: OnceLock::new(),
        }
    }

    /// States what it refers to; sorted and without duplicates afterwards.
    #[must_use]
    pub fn needing(mut self, mut needs: Vec<Need>) -> Self {
        needs.sort_unstable();
        needs.dedup();
        self.needs = needs.into();
        self
    }

    /// States the resource that it belongs to: a virtual host's route configuration. It is sent only to clients that
    /// subscribed to that one, and after it.
    #[must_use]
    pub fn belonging_to(mut self, parent: ResourceName) -> Self {
        self.parent = Some(parent);
        self
    }

    /// States which of the user's objects it was made from; sorted and without duplicates afterwards.
    #[must_use]
    pub fn made_from(mut self, mut origin: Vec<ObjectKey>) -> Self {
        origin.sort_unstable();
        origin.dedup();
        self.origin = origin.into();
        self
    }

    /// States what takes its place where it is refused: the same resource without what somebody did to it on top.
    #[must_use]
    pub fn or_instead(mut self, instead: Arc<Self>) -> Self {
        self.instead = Some(instead);
        self
    }

    /// The type.
    pub fn type_url(&self) -> TypeUrl {
        self.type_url
    }

    /// The name.
    pub fn name(&self) -> &ResourceName {
        &self.name
    }

    /// The version: a hash of the bytes.
    pub fn version(&self) -> Version {
        self.version
    }

    /// One number for name and version ([`Version::mark`]).
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// About how many bytes it has in a response.
    pub fn wire_len(&self) -> usize {
        self.name.wire_len(self.body.len())
    }

    /// The encoded message.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What it refers to, sorted.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// The resource that it belongs to.
    pub fn parent(&self) -> Option<&ResourceName> {
        self.parent.as_ref()
    }

    /// The objects that it was made from, sorted.
    pub fn origin(&self) -> &[ObjectKey] {
        &self.origin
    }

    /// What takes its place where it is refused; none for most.
    pub fn instead(&self) -> Option<&Arc<Self>> {
        self.instead.as_ref()
    }

    /// The objects to which a refusal is due: where something can take its place, those that are not in that.
    pub fn blamed(&self) -> impl Iterator<Item = &ObjectKey> {
        let innocent = self.instead.as_ref().map(|instead| instead.origin()).unwrap_or_default();
        self.origin.iter().filter(move |object| !innocent.contains(object))
    }

    /// The bytes before [`Resource::body`] in a response.
    pub fn head(&self, form: Form) -> &Bytes {
        match form {
            Form::Delta => self.delta_head(),
            Form::Sotw => self.sotw_head(),
        }
    }

    /// The bytes before [`Resource::body`] in a `DeltaDiscoveryResponse`: the tag and length of field `resources`, and in
    /// the `Resource` message its name, version and the head of the `Any`.
    fn delta_head(&self) -> &Bytes {
        self.delta_head.get_or_init(|| {
            let any = any_head(self.type_url, self.body.len());
            let mut inner = Vec::with_capacity(64 + any.len());
            text_field(1, &self.version.to_string(), &mut inner);
            text_field(3, self.name.as_str(), &mut inner);
            length_field(2, any.len() + self.body.len(), &mut inner);
            inner.extend_from_slice(&any);
            let mut out = Vec::with_capacity(inner.len() + 8);
            length_field(2, inner.len() + self.body.len(), &mut out);
            out.extend_from_slice(&inner);
            out.into()
        })
    }

    /// The bytes before [`Resource::body`] in a `DiscoveryResponse`: the tag and length of field `resources`, and the head
    /// of the `Any`.
    fn sotw_head(&self) -> &Bytes {
        self.sotw_head.get_or_init(|| {
            let any = any_head(self.type_url, self.body.len());
            let mut out = Vec::with_capacity(any.len() + 8);
            length_field(2, any.len() + self.body.len(), &mut out);
            out.extend_from_slice(&any);
            out.into()
        })
    }
}

/// Equality is by what a client can see: type, name and bytes (by version), and by what orders it.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.type_url == other.type_url
            && self.name == other.name
            && self.version == other.version
            && self.needs == other.needs
            && self.parent == other.parent
            && self.origin == other.origin
            && self.instead == other.instead
    }
}

impl Eq for Resource {}

/// `Any { type_url, value }` up to the first byte of `value`.
fn any_head(type_url: TypeUrl, value_len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    text_field(1, type_url.as_str(), &mut out);
    length_field(2, value_len, &mut out);
    out
}

/// Tag of a length-delimited field, and the length.
fn length_field(field: u64, len: usize, out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(len as u64, out);
}

/// A whole text field.
fn text_field(field: u64, text: &str, out: &mut Vec<u8>) {
    length_field(field, text.len(), out);
    out.extend_from_slice(text.as_bytes());
}
