//! The arguments that injected pods give to Istio's agent: `proxy sidecar --domain ... --proxyLogLevel=warning ...`
//! (Istio: pilot/cmd/pilot-agent/app/cmd.go, which tolerates flags that it does not know, too).

use super::{Kind, Note, OptionsError};

/// What of them counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) kind: Option<Kind>,
    pub(super) domain: Option<String>,
    pub(super) log_level: Option<String>,
    pub(super) component_log_level: Option<String>,
    pub(super) concurrency: Option<u32>,
}

/// Reads them.
pub(super) fn read(words: &[String], notes: &mut Vec<Note>) -> Result<Words, OptionsError> {
    let mut read = Words::default();
    let Some((first, rest)) = words.split_first() else { return Ok(read) };
    if first != "proxy" {
        return Err(OptionsError::Words(format!(
            "`{first}` is no argument of the agent; of Istio's agent it takes `proxy sidecar ...` and `proxy router ...`"
        )));
    }
    let mut rest = rest.iter().map(String::as_str).peekable();
    while let Some(word) = rest.next() {
        let Some(flag) = word.strip_prefix('-').map(|flag| flag.trim_start_matches('-')) else {
            read.kind = Some(match word {
                "sidecar" => Kind::Sidecar,
                "router" => Kind::Router,
                other => {
                    return Err(OptionsError::Words(format!(
                        "`proxy {other}` is not served; `sidecar` and `router` are"
                    )));
                }
            });
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            // A value may follow as a word of its own; the kind comes before the flags.
            None => (flag, rest.next_if(|next| !next.starts_with('-')).map(str::to_owned)),
        };
        match name {
            "domain" => read.domain = value.filter(|domain| !domain.is_empty()),
            "proxyLogLevel" => read.log_level = value,
            "proxyComponentLogLevel" => read.component_log_level = value,
            "concurrency" => match value.as_deref().unwrap_or_default().parse() {
                // Istio's own flag says 0 for "as is set elsewhere".
                Ok(0) => {}
                Ok(count) => read.concurrency = Some(count),
                Err(_) => notes.push(Note::Ignored {
                    place: "--concurrency".to_owned(),
                    reason: "it is no number".to_owned(),
                }),
            },
            _ => notes.push(Note::Unsupported {
                place: format!("--{name}"),
                instead: "a flag of Istio's agent that does nothing here",
            }),
        }
    }
    Ok(read)
}
