//! Findings: what is wrong or worth a look, where, what stays in force and what to do.
//!
//! Knows: the fields that scripts read, and the two forms for people. Must not know: how a finding was found.
//! Invariant: the JSON has exactly the fields of `meltemi validate -o json`; what a stranger wrote prints without control characters.

mod render;

use std::sync::Arc;

use meltemi_names::ObjectKey;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::field::FieldPath;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object is not taken.
    Error,
    /// The object is taken; likely it does not do what was meant.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// In lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A place in a file; lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Place {
    /// As the reader named it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable, in kebab case: what scripts and tests name it by.
    pub code: &'static str,
    /// The object that it is about.
    pub key: Option<ObjectKey>,
    /// The field as [`FieldPath`] prints it; empty: the object as a whole.
    pub field: String,
    /// What was found.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// What happens meanwhile.
    pub in_force: Option<String>,
    /// Where it stands; none for objects that come from no file.
    pub place: Option<Place>,
}

impl Finding {
    /// A finding about nothing in particular; the other methods say more.
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code,
            key: None,
            field: String::new(),
            message: message.into(),
            hint: None,
            in_force: None,
            place: None,
        }
    }

    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// Good to know.
    pub fn info(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, message)
    }

    /// About this object.
    #[must_use]
    pub fn about(mut self, key: &ObjectKey) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// About this field of it.
    #[must_use]
    pub fn at(mut self, field: &FieldPath) -> Self {
        self.field = field.to_string();
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What happens meanwhile.
    #[must_use]
    pub fn in_force(mut self, in_force: impl Into<String>) -> Self {
        self.in_force = Some(in_force.into());
        self
    }

    /// Where it stands.
    #[must_use]
    pub fn placed(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// What orders findings: by place (those without one last), then the worst first, then object, field, code and text.
    fn order(&self) -> impl Ord + '_ {
        let place = &self.place;
        (place.is_none(), place, self.severity, &self.key, &self.field, self.code, &self.message, &self.hint)
    }
}

impl PartialOrd for Finding {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Finding {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order()).then_with(|| self.in_force.cmp(&other.in_force))
    }
}

impl Serialize for Finding {
    /// Exactly the fields that scripts are written against; what is not known is null.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Finding", 11)?;
        fields.serialize_field("severity", &self.severity)?;
        fields.serialize_field("code", self.code)?;
        fields.serialize_field("kind", &self.key.as_ref().map(|key| key.kind.as_str()))?;
        fields.serialize_field("namespace", &self.key.as_ref().map(|key| key.namespace.as_str()))?;
        fields.serialize_field("name", &self.key.as_ref().map(|key| key.name.as_str()))?;
        fields.serialize_field("field", &self.field)?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("hint", &self.hint)?;
        fields.serialize_field("file", &self.place.as_ref().map(|place| &place.file))?;
        fields.serialize_field("line", &self.place.as_ref().map(|place| place.line))?;
        fields.serialize_field("column", &self.place.as_ref().map(|place| place.column))?;
        fields.end()
    }
}
