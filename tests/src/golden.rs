//! Golden cases: a folder for each intent of a user, with what a proxy is served for it.
//!
//! Knows: the files of a case (`input.yaml`; `proxy.yaml` and `show.yaml` where the defaults do not do; the expected files), and how
//! to run one. Must not know: what any of them should hold; a person reads that.   Start at [`Case`]; `show` cuts out what is shown.
//! Invariant: a case without `findings.txt` has no warnings and no errors.

mod diff;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use meltemi_api::{File, Severity};
use meltemi_catalog::View;
use meltemi_model::Event;
use meltemi_names::TypeUrl;
use meltemi_views::{Engine, Options};
use serde_json::{Map, Value};

pub use diff::diff;
use show::{Show, Usual};

/// The types that a case may show, by the stem of their file.
const TYPES: [(&str, TypeUrl); 5] = [
    ("clusters", TypeUrl::Cluster),
    ("endpoints", TypeUrl::Endpoint),
    ("extensions", TypeUrl::ExtensionConfig),
    ("listeners", TypeUrl::Listener),
    ("routes", TypeUrl::Route),
];

const FINDINGS: &str = "findings.txt";

/// One folder of `tests/golden`.
pub struct Case {
    /// The folder's name: what the user wants.
    pub name: String,
    folder: PathBuf,
    text: String,
    input: File,
    proxy: ProxyFile,
    show: BTreeMap<String, Show>,
    /// The expected files: those that are there, and those that `show.yaml` names.
    expected: BTreeSet<String>,
}

/// `proxy.yaml`: who asks.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProxyFile {
    /// `pod.namespace`.
    id: String,
    /// `sidecar` or `router`.
    r#type: ProxyType,
    labels: BTreeMap<String, String>,
    /// `REDIRECT`, `TPROXY` or `NONE`.
    interception: String,
    /// Its addresses, by comma.
    ip: String,
    /// It has the mesh's certificates, and by them the Secrets of its namespace.
    certificates: bool,
    /// Its agent answers DNS.
    dns_capture: bool,
    /// What else its node says.
    metadata: BTreeMap<String, String>,
}

/// What a proxy is for.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProxyType {
    Sidecar,
    Router,
}

impl Default for ProxyFile {
    fn default() -> Self {
        Self {
            id: "client.default".to_owned(),
            r#type: ProxyType::Sidecar,
            labels: [("app".to_owned(), "client".to_owned())].into(),
            interception: "REDIRECT".to_owned(),
            ip: "10.9.9.9".to_owned(),
            certificates: false,
            dns_capture: false,
            metadata: BTreeMap::new(),
        }
    }
}

/// What a case comes to.
pub struct Outcome {
    /// By the name of the expected file: its text.
    pub texts: BTreeMap<String, String>,
    /// All that the proxy is served, as `meltemi_testkit::envoy::bootstrap_of` takes it.
    pub resources: Value,
    /// The warnings and errors, one a line.
    pub findings: String,
}

/// The folder of the cases.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// All cases, by name; with `only`, those whose names hold that text.
///
/// # Errors
/// When a folder is not a case, or none is left.
pub fn cases(only: Option<&str>) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && only.is_none_or(|only| name.contains(only)) {
            cases.push(Case::read(&path, name.clone()).with_context(|| format!("tests/golden/{name}"))?);
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!cases.is_empty(), "no case in tests/golden has {only:?} in its name");
    Ok(cases)
}

impl Case {
    fn read(folder: &Path, name: String) -> Result<Self> {
        let mut case = Self {
            name,
            folder: folder.to_owned(),
            text: String::new(),
            input: File::default(),
            proxy: ProxyFile::default(),
            show: BTreeMap::new(),
            expected: BTreeSet::new(),
        };
        let mut input = None;
        for entry in std::fs::read_dir(folder)? {
            let file = entry?.file_name().to_string_lossy().into_owned();
            let text = || std::fs::read_to_string(folder.join(&file)).with_context(|| file.clone());
            match file.as_str() {
                "input.yaml" => {
                    case.text = text()?;
                    input = Some(meltemi_api::parse(&case.text, "input.yaml", "default"));
                }
                "proxy.yaml" => {
                    case.proxy = serde_norway::from_str(&text()?).with_context(|| file.clone())?;
                }
                "show.yaml" => case.show = serde_norway::from_str(&text()?).with_context(|| file.clone())?,
                FINDINGS => drop(case.expected.insert(file)),
                _ if TYPES.iter().any(|(stem, _)| file == format!("{stem}.yaml")) => {
                    case.expected.insert(file);
                }
                _ => bail!("{file} is no file of a case"),
            }
        }
        for stem in case.show.keys() {
            ensure!(TYPES.iter().any(|(known, _)| known == stem), "show.yaml: `{stem}` is no type");
            case.expected.insert(format!("{stem}.yaml"));
        }
        case.input = input.context("input.yaml is missing")?;
        ensure!(!case.expected.is_empty(), "nothing is expected: add clusters.yaml, routes.yaml, ...");
        Ok(case)
    }

    /// The text of `input.yaml`.
    pub fn input(&self) -> &str {
        &self.text
    }

    /// All that the proxy would be served for another input: the bytes of each resource, by type and name.
    pub fn served(&self, input: &str) -> Vec<(TypeUrl, String, Vec<u8>)> {
        let (_, view) = self.connect(&meltemi_api::parse(input, "input.yaml", "default"));
        let mut all = Vec::new();
        for (_, type_url) in TYPES {
            all.extend(
                view.all(type_url)
                    .map(|live| (type_url, live.resource.name().to_string(), live.resource.body().to_vec())),
            );
        }
        all.sort();
        all
    }

    /// An engine that has applied an input, and what the case's proxy is served by it.
    fn connect(&self, input: &File) -> (Engine, View) {
        let objects = input.documents.iter().filter_map(|document| document.object.clone());
        let mut engine = Engine::new(Options { virtual_hosts: false, ..Options::default() });
        engine.apply(objects.map(|object| Event::Upsert(Arc::new(object))));
        let labels: Vec<(&str, &str)> =
            self.proxy.labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect();
        let ProxyFile { id, interception, ip, metadata, .. } = &self.proxy;
        let proxy = crate::mesh::proxy_saying(metadata, ip, id, &labels, interception, false);
        let proxy = if self.proxy.certificates { crate::mesh::with_certificates(&proxy) } else { proxy };
        let proxy = match self.proxy.r#type {
            ProxyType::Sidecar => proxy,
            ProxyType::Router => crate::mesh::as_gateway(&proxy),
        };
        let proxy = if self.proxy.dns_capture { crate::mesh::with_dns_capture(&proxy) } else { proxy };
        // Whole route configurations, as a state-of-the-world client has them: that is how people read them.
        let client = engine.connect(proxy);
        let view = engine.view(client);
        (engine, view)
    }

    /// Runs it.
    ///
    /// # Errors
    /// When a resource does not decode, or `show.yaml` names what is not there.
    pub fn run(&self) -> Result<Outcome> {
        let documents = || self.input.documents.iter();
        let (engine, view) = self.connect(&self.input);
        let semantic = engine.findings().into_iter().map(|finding| {
            let document = documents()
                .find(|document| document.object.is_some() && document.key.as_ref() == finding.key.as_ref());
            document.map_or(finding.clone(), |document| document.places.locate(finding))
        });
        let mut findings: Vec<_> = self.input.findings().into_iter().chain(semantic).collect();
        findings.sort();
        // The worst is the least.
        let lines = |mildest| -> String {
            findings
                .iter()
                .filter(|found| found.severity <= mildest)
                .map(|found| format!("{found}\n"))
                .collect()
        };

        let usual = Usual::read(&folder())?;
        let (mut texts, mut resources) = (BTreeMap::new(), Map::new());
        for (stem, type_url) in TYPES {
            let all = decoded(&view, type_url)?;
            let file = format!("{stem}.yaml");
            if self.expected.contains(&file) {
                let show = self.show.get(stem).cloned().unwrap_or_default();
                let shown = show.cut(&all, &usual.of(stem)).with_context(|| format!("show.yaml, {stem}"))?;
                texts.insert(file, serde_norway::to_string(&shown)?);
            }
            resources.insert(stem.to_owned(), Value::Object(all.into_iter().collect()));
        }
        if self.expected.contains(FINDINGS) {
            texts.insert(FINDINGS.to_owned(), lines(Severity::Info));
        }
        Ok(Outcome { texts, resources: Value::Object(resources), findings: lines(Severity::Warning) })
    }

    /// What differs from the expected files, readable; empty when nothing does. With `update`, the files are written instead.
    ///
    /// # Errors
    /// As [`Case::run`], or when a file cannot be written.
    pub fn compare(&self, update: bool) -> Result<String> {
        let outcome = self.run().with_context(|| format!("tests/golden/{}", self.name))?;
        let mut differences = String::new();
        for (file, text) in &outcome.texts {
            let path = self.folder.join(file);
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            if expected == *text {
                continue;
            }
            if update {
                std::fs::write(&path, text)?;
            } else {
                differences += &format!(
                    "\ntests/golden/{}/{file}: - expected, + now\n{}",
                    self.name,
                    diff(&expected, text)
                );
            }
        }
        if !self.expected.contains(FINDINGS) && !outcome.findings.is_empty() {
            differences += &format!(
                "\ntests/golden/{}: findings and no {FINDINGS} that expects them\n{}",
                self.name, outcome.findings
            );
        }
        Ok(differences)
    }
}

/// The resources of a type by name, as protobuf JSON with sorted fields.
fn decoded(view: &View, type_url: TypeUrl) -> Result<BTreeMap<String, Value>> {
    view.all(type_url)
        .map(|live| {
            let name = live.resource.name().to_string();
            let mut json = meltemi_proto::json::to_json(type_url.as_str(), &live.resource.body().to_vec())
                .with_context(|| format!("{type_url} {name}"))?;
            json.sort_all_objects();
            Ok((name, json))
        })
        .collect()
}
