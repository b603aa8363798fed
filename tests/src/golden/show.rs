//! What of a case's resources is shown: paths, and what all resources of a type have and only some cases show.
//!
//! Knows: JSON. Must not know: Envoy's messages.   Start at [`Show::cut`].
//! Invariant: a path that leads nowhere is an error, so that a golden cannot go empty unseen.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

/// A type's entry in `show.yaml`.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Show {
    /// `NAME/FIELD/...`: a resource and a way into it. `*` stands for every one, also within a name; an element of a list is called
    /// by its field `name`, or by its number from 0; `a,b` keeps these fields of an object. `names` alone: the names of all
    /// resources.
    paths: Vec<String>,
    /// Show what is usual, too.
    whole: bool,
}

impl Default for Show {
    fn default() -> Self {
        Self { paths: vec!["*".to_owned()], whole: false }
    }
}

/// `tests/golden/usual.yaml`: by type, what most resources have; spelled out only where a case asks for the whole.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Usual(BTreeMap<String, UsualOf>);

#[derive(Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UsualOf {
    /// Resources that are left out unless a path names them.
    resources: Vec<String>,
    /// Fields that are only listed where they have this value; `any`: with every value.
    fields: Map<String, Value>,
}

impl Usual {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(folder.join("usual.yaml"))?;
        serde_norway::from_str(&text).context("tests/golden/usual.yaml")
    }

    pub(super) fn of(&self, stem: &str) -> UsualOf {
        self.0.get(stem).cloned().unwrap_or_default()
    }
}

impl UsualOf {
    /// The value with usual fields put together into one, `usual`, that lists them: one that is missing is not listed, and so seen.
    fn gathered(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let is_usual = |name: &str, value: &Value| {
                    self.fields.get(name).is_some_and(|usual| usual == "any" || usual == value)
                };
                let (usual, own): (Vec<_>, Vec<_>) =
                    fields.iter().partition(|(name, value)| is_usual(name, value));
                let mut shown: Map<String, Value> =
                    own.into_iter().map(|(name, value)| (name.clone(), self.gathered(value))).collect();
                if !usual.is_empty() {
                    let names: Vec<&str> = usual.iter().map(|(name, _)| name.as_str()).collect();
                    shown.insert("usual".to_owned(), names.join(", ").into());
                }
                Value::Object(shown)
            }
            Value::Array(list) => list.iter().map(|value| self.gathered(value)).collect(),
            other => other.clone(),
        }
    }
}

impl Show {
    /// By path: what is there.
    pub(super) fn cut(
        &self,
        all: &BTreeMap<String, Value>,
        usual: &UsualOf,
    ) -> Result<BTreeMap<String, Value>> {
        let mut shown = BTreeMap::new();
        for path in &self.paths {
            let before = shown.len();
            if path == "names" {
                let names = all.keys().map(|name| Value::from(name.as_str())).collect();
                shown.insert(path.clone(), names);
            } else {
                let (name, rest) = path.split_once('/').map_or((path.as_str(), None), |(a, b)| (a, Some(b)));
                for (found, resource) in all.iter().filter(|(found, _)| matches(name, found)) {
                    if name == "*" && !self.whole && usual.resources.contains(found) {
                        continue;
                    }
                    follow(resource, found, rest, &mut shown);
                }
            }
            ensure!(shown.len() > before, "`{path}` shows nothing more; there are {:?}", all.keys());
        }
        if !self.whole {
            shown.values_mut().for_each(|value| *value = usual.gathered(value));
        }
        Ok(shown)
    }
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).any(|at| tail.get(at..).is_some_and(|tail| matches(rest, tail)))
        }),
    }
}

fn follow(value: &Value, place: &str, path: Option<&str>, shown: &mut BTreeMap<String, Value>) {
    let Some(path) = path else {
        shown.insert(place.to_owned(), value.clone());
        return;
    };
    let (step, rest) = path.split_once('/').map_or((path, None), |(step, rest)| (step, Some(rest)));
    match value {
        Value::Object(fields) if step.contains(',') => {
            let kept: Map<String, Value> = step
                .split(',')
                .filter_map(|name| Some((name.to_owned(), fields.get(name)?.clone())))
                .collect();
            follow(&Value::Object(kept), place, rest, shown);
        }
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| matches(step, name)) {
                follow(value, &format!("{place}/{name}"), rest, shown);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                let index = index.to_string();
                let name = value["name"].as_str().unwrap_or(&index);
                if matches(step, name) || step == index {
                    // Several elements may have one name, such as the inbound chains of a port.
                    let is_alone = list.iter().filter(|other| other["name"] == name).count() < 2;
                    let called = if is_alone { name.to_owned() } else { format!("{name} ({index})") };
                    follow(value, &format!("{place}/{called}"), rest, shown);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{Show, UsualOf};

    fn cut(paths: &[&str]) -> anyhow::Result<Value> {
        let all = [
            (
                "plain".to_owned(),
                json!({"timeout": "0s", "chains": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
            ),
            ("short".to_owned(), json!({"timeout": "2s", "hosts": [{"name": "b", "port": 3}]})),
            ("without".to_owned(), json!({"hosts": []})),
        ];
        let fields = json!({"timeout": "0s"}).as_object().cloned().unwrap_or_default();
        let usual = UsualOf { fields, ..UsualOf::default() };
        let show = Show { paths: paths.iter().map(|path| (*path).to_owned()).collect(), whole: false };
        Ok(json!(show.cut(&BTreeMap::from(all), &usual)?))
    }

    #[test]
    fn a_usual_field_a_changed_one_and_a_missing_one_look_different() -> anyhow::Result<()> {
        let shown = cut(&["plain/timeout,hosts", "short/timeout,hosts", "without"])?;
        assert_eq!(shown["plain"], json!({"usual": "timeout"}));
        assert_eq!(shown["short"], json!({"timeout": "2s", "hosts": [{"name": "b", "port": 3}]}));
        assert_eq!(shown["without"], json!({"hosts": []}));
        Ok(())
    }

    #[test]
    fn elements_of_one_name_are_shown_apart() -> anyhow::Result<()> {
        assert_eq!(
            cut(&["*/chains/a/port", "short/hosts/b/port"])?,
            json!({"plain/chains/a (0)/port": 1, "plain/chains/a (1)/port": 2, "short/hosts/b/port": 3})
        );
        Ok(())
    }

    #[test]
    fn a_path_that_leads_nowhere_is_an_error() {
        assert!(cut(&["plain/chains/b"]).is_err());
        assert!(cut(&["nobody"]).is_err());
    }
}
