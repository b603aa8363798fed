//! Whatever stands in a file, reading it ends, within bounds, and without a panic.
#![allow(clippy::unwrap_used, reason = "a test")]

use meltemi_api::{File, parse};
use proptest::prelude::*;

/// A text with most of what the kinds know, to cut up.
const SEED: &str = include_str!("strangers_texts/seed.yaml");

/// What must hold of any answer.
fn check(text: &str, file: &File) -> Result<(), TestCaseError> {
    let lines = u32::try_from(text.lines().count()).unwrap() + 1;
    for document in &file.documents {
        for finding in &document.findings {
            prop_assert!(
                finding.place.as_ref().is_some_and(|place| (1..=lines).contains(&place.line)),
                "{finding:?}"
            );
            prop_assert!(!finding.to_string().contains('\n'));
        }
        let rejected =
            document.findings.iter().any(|finding| finding.severity == meltemi_api::Severity::Error);
        prop_assert!(!(rejected && document.object.is_some()));
        if let Some(object) = &document.object {
            prop_assert_eq!(Some(&object.meta.key), document.key.as_ref());
        }
    }
    // No document is made from nothing.
    prop_assert!(file.documents.len() <= text.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_texts_are_read_to_their_end(text in "\\PC{0,200}") {
        check(&text, &parse(&text, "f", "default"))?;
    }

    #[test]
    fn texts_of_yaml_s_own_signs_are_read_to_their_end(
        text in "([-a:?&*!|>'\"%@`{}\\[\\],#~<\n\t ]|---\n|: |- |<<: |&a |\\*a|\\? ){0,120}"
    ) {
        check(&text, &parse(&text, "f", "default"))?;
    }

    #[test]
    fn mutated_files_are_read_to_their_end(
        cuts in proptest::collection::vec((0..SEED.len(), 0..40_usize, "\\PC{0,6}|[-:{}\\[\\]&*'\"\n ]{0,6}"), 1..6)
    ) {
        let mut text = SEED.to_owned();
        for (at, length, put) in cuts {
            let start = text.floor_char_boundary(at.min(text.len()));
            let end = text.floor_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end.max(start), &put);
        }
        check(&text, &parse(&text, "f", "default"))?;
    }
}

#[test]
fn the_seed_itself_is_right() {
    let file = parse(SEED, "f", "default");
    let findings: Vec<String> = file.findings().iter().map(ToString::to_string).collect();
    assert_eq!(findings, [""; 0]);
    assert_eq!(file.documents.len(), 8);
}
