//! Paths of fields: `spec.http[0].route[1].weight`.
//!
//! Must not know: files, kinds.   Invariant: a path printed and parsed again is the same path.

/// The way from the root of an object to a field.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<Segment>);

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Into the field, or the entry of a map, of that name.
    Key(String),
    /// Into a list, counted from 0.
    Index(usize),
}

impl FieldPath {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Of these fields, one within the other.
    pub fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| Segment::Key((*name).to_owned())).collect())
    }

    /// The field, or the entry of a map, within this one.
    #[must_use]
    pub fn key(&self, name: &str) -> Self {
        self.then(Segment::Key(name.to_owned()))
    }

    /// The item of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(Segment::Index(index))
    }

    fn then(&self, segment: Segment) -> Self {
        let mut segments = Vec::with_capacity(self.0.len() + 1);
        segments.extend_from_slice(&self.0);
        segments.push(segment);
        Self(segments)
    }

    /// The path from `prefix` on; none when it does not begin so.
    pub fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        self.0.strip_prefix(prefix.0.as_slice()).map(|rest| Self(rest.to_vec()))
    }

    /// The steps, from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Reads what `Display` wrote; none for another text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(quoted) = rest.strip_prefix("[\"") {
                let (name, tail) = quoted.split_once("\"]")?;
                segments.push(Segment::Key(name.to_owned()));
                rest = tail;
            } else if let Some(index) = rest.strip_prefix('[') {
                let (index, tail) = index.split_once(']')?;
                segments.push(Segment::Index(index.parse().ok()?));
                rest = tail;
            } else {
                let name = match rest.strip_prefix('.') {
                    Some(name) if !segments.is_empty() => name,
                    None if segments.is_empty() => rest,
                    _ => return None,
                };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                if end == 0 {
                    return None;
                }
                segments.push(Segment::Key(name[..end].to_owned()));
                rest = &name[end..];
            }
        }
        Some(Self(segments))
    }
}

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                // Names of labels, annotations and headers have dots and slashes; a quote inside is not told from the end.
                Segment::Key(name) if name.is_empty() || name.contains(['.', '/', '[', ']', '"', ' ']) => {
                    write!(f, "[\"{}\"]", name.replace('"', "'"))?;
                }
                Segment::Key(name) if position == 0 => f.write_str(name)?,
                Segment::Key(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::FieldPath;

    #[test]
    fn a_path_reads_back_as_printed() {
        let path = FieldPath::of(&["spec", "http"]).index(0).key("headers").key("x.y/z").key("exact");
        assert_eq!(path.to_string(), r#"spec.http[0].headers["x.y/z"].exact"#);
        assert_eq!(FieldPath::parse(&path.to_string()), Some(path));
        assert_eq!(FieldPath::parse(""), Some(FieldPath::root()));
        for bad in ["a..b", ".a", "a[", "a[x]", "a[\"b", "a."] {
            assert_eq!(FieldPath::parse(bad), None, "{bad}");
        }
    }
}
