//! docs/compat.md and the code say the same: of each field of each kind that the page calls supported there is a golden case in which it
//! matters, and no field is left unsaid.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use meltemi_api::crd;
use meltemi_tests::compat::{Table, Word, fields, removals, remove};
use meltemi_tests::golden::{Case, cases};
use serde::Deserialize;
use serde_json::Value;

/// In how many places a field is tried before it counts as one that does nothing.
const TRIES: usize = 25;

/// One place of a field: which case, which of its documents, where there.
struct Spot {
    case: usize,
    document: usize,
    pointer: String,
}

fn documents(case: &Case) -> Result<Vec<Value>> {
    let texts = serde_norway::Deserializer::from_str(case.input());
    let read = |text| Value::deserialize(text).with_context(|| format!("tests/golden/{}", case.name));
    texts.map(read).collect()
}

/// JSON is YAML.
fn text(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("---\n{document}\n")).collect()
}

#[test]
fn the_page_says_of_each_field_what_is_true() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compat.md");
    let page = std::fs::read_to_string(page)?;
    let cases = cases(None)?;
    let inputs: Vec<Vec<Value>> = cases.iter().map(documents).collect::<Result<_>>()?;
    let served: Vec<_> = cases.iter().zip(&inputs).map(|(case, input)| case.served(&text(input))).collect();
    let mut wrong = Vec::new();
    let (mut shown, mut unsupported) = (0, 0);
    for crd in crd::all() {
        let kind = crd.kind();
        let Some((table, of_rows)) = Table::read(&page, &crd) else { continue };
        wrong.extend(of_rows);
        let mut spots: BTreeMap<String, Vec<Spot>> = BTreeMap::new();
        for (case, documents) in inputs.iter().enumerate() {
            for (at, document) in documents.iter().enumerate() {
                if document["kind"] == kind.as_str() {
                    for (field, pointer) in removals(&crd, document) {
                        spots.entry(field).or_default().push(Spot { case, document: at, pointer });
                    }
                }
            }
        }
        for field in fields(&crd) {
            match table.says(&field) {
                None => wrong.push(format!("{kind} `{field}`: no row is about it")),
                Some(Word::NotYet | Word::NoEffect) => unsupported += 1,
                Some(Word::Supported | Word::Differs) => {
                    let Some(spots) = spots.get(&field) else {
                        wrong.push(format!("{kind} `{field}`: no golden case has it"));
                        continue;
                    };
                    let mut matters = false;
                    for spot in spots.iter().take(TRIES) {
                        let mut input = inputs[spot.case].clone();
                        remove(&mut input[spot.document], &spot.pointer)
                            .with_context(|| format!("{} {}", cases[spot.case].name, spot.pointer))?;
                        matters |= cases[spot.case].served(&text(&input)) != served[spot.case];
                        if matters {
                            break;
                        }
                    }
                    shown += 1;
                    if !matters {
                        let names: Vec<&str> =
                            spots.iter().take(TRIES).map(|spot| cases[spot.case].name.as_str()).collect();
                        wrong.push(format!(
                            "{kind} `{field}`: without it the proxy is served the same in {}",
                            names.join(", ")
                        ));
                    }
                }
            }
        }
    }
    println!("fields shown to matter: {shown}; said to be not there: {unsupported}");
    assert!(
        wrong.is_empty(),
        "docs/compat.md, the CRDs and tests/golden do not agree ({} fields):\n{}\n\
         a field that the page calls supported needs a case where its removal changes what the proxy is served",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(shown > 100, "only {shown} fields were looked at");
    Ok(())
}
