//! What `meltemi wait` tells: how far it is, on standard error, and how it ended, on standard output.

use std::io::IsTerminal;

use meltemi_serve::propagation::InForce;
use serde_json::json;

use crate::args::{TextOrJson, YamlOrJson};
use crate::render;

/// How many proxies a line of progress names.
const NAMED: usize = 3;

/// Tells how far it is: one line that changes on a terminal, else a line whenever it differs.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    last: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), last: String::new() }
    }

    #[allow(clippy::print_stderr, reason = "talk goes to standard error")]
    pub(super) fn tell(&mut self, answer: &InForce) {
        let line = line(answer);
        if line == self.last {
            return;
        }
        if self.terminal {
            eprint!("\r\x1b[2K{line}");
        } else {
            eprintln!("{line}");
        }
        self.last = line;
    }

    /// Takes the line on the terminal away.
    #[allow(clippy::print_stderr, reason = "talk goes to standard error")]
    pub(super) fn end(&self) {
        if self.terminal && !self.last.is_empty() {
            eprint!("\r\x1b[2K");
        }
    }
}

/// `VirtualService shop/reviews is in force in 12 of 40 proxies; waiting for a.shop, b.shop, c.shop, ...`
fn line(answer: &InForce) -> String {
    let mut names: Vec<&str> =
        answer.lagging.iter().map(|lagging| lagging.proxy.as_str()).take(NAMED).collect();
    if names.is_empty() {
        return answer.message.clone();
    }
    if answer.of - answer.have > names.len() {
        names.push("...");
    }
    format!("{}; waiting for {}", answer.message, names.join(", "))
}

/// Tells how it ended.
pub(super) fn end(answers: &[InForce], output: TextOrJson) -> anyhow::Result<()> {
    match output {
        TextOrJson::Json => {
            let met = answers.iter().all(|answer| answer.met);
            render::value(&json!({ "met": met, "objects": answers }), YamlOrJson::Json)
        }
        TextOrJson::Text => render::text_out(&answers.iter().map(text).collect::<String>()),
    }
}

fn text(answer: &InForce) -> String {
    let mut text = format!("{}\n", answer.message);
    if answer.met {
        return text;
    }
    for lagging in &answer.lagging {
        let replica = lagging.replica.as_ref().map(|replica| format!(" (at {replica})")).unwrap_or_default();
        text += &format!("  {}{replica}: {}\n", lagging.proxy, lagging.message);
    }
    let more = (answer.of - answer.have).saturating_sub(answer.lagging.len());
    if more > 0 {
        text += &format!("  and {more} more\n");
    }
    for replica in answer.replicas.iter().filter(|replica| !replica.met && replica.message != answer.message)
    {
        text += &format!("  replica {}: {}\n", replica.address, replica.message);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{line, text};
    use meltemi_serve::propagation::InForce;
    use serde_json::json;

    fn answer(have: usize, proxies: &[&str]) -> InForce {
        let lagging: Vec<_> = proxies
            .iter()
            .map(|proxy| json!({"proxy": proxy, "why": "notAcknowledged", "message": "it has not said so"}))
            .collect();
        serde_json::from_value(json!({
            "object": {"kind": "VirtualService", "namespace": "shop", "name": "reviews"},
            "met": false, "state": "propagating", "published": 7, "have": have, "of": 40,
            "lagging": lagging, "message": format!("it is in force in {have} of 40 proxies"),
        }))
        .unwrap()
    }

    #[test]
    fn progress_names_a_few_proxies() {
        let many = answer(12, &["a.shop", "b.shop", "c.shop", "d.shop"]);
        assert_eq!(
            line(&many),
            "it is in force in 12 of 40 proxies; waiting for a.shop, b.shop, c.shop, ..."
        );
        assert_eq!(line(&answer(39, &["a.shop"])), "it is in force in 39 of 40 proxies; waiting for a.shop");
    }

    #[test]
    fn the_end_names_each_proxy_with_its_reason_and_counts_the_rest() {
        let said = text(&answer(30, &["a.shop", "b.shop"]));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines[1..],
            ["  a.shop: it has not said so", "  b.shop: it has not said so", "  and 8 more"]
        );
    }
}
