//! Types that are not served: what the directory answers of its own, else an empty answer, not an error, since a newer client asks for more
//! than we know.

use meltemi_catalog::View;

use super::{Close, CloseCode, Machine};
use crate::peer::Page;
use crate::response::{Assembly, Response};

/// A type that is not served.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    answer: bool,
    page: Option<Page>,
}

impl Machine {
    /// Takes a request for such a type.
    pub(super) fn unknown(&mut self, type_url: String, nonce: &str) -> Result<(), Close> {
        let types = self.unknown.len() + self.watches.iter().flatten().count();
        if !self.unknown.contains_key(&type_url) && types >= self.limits.types {
            return Err(Close::new(
                CloseCode::ResourceExhausted,
                format!("more than {} resource types on one stream", self.limits.types),
            ));
        }
        self.tally.unknown_requests += 1;
        let anew = self.answers_anew(&type_url, nonce);
        self.unknown.entry(type_url).or_default().answer |= anew;
        Ok(())
    }

    /// Whether a request for such a type is answered: the first of its type on the stream, whatever its nonce is (`istioctl` writes the
    /// time of day there), and each without a nonce.
    pub(crate) fn answers_anew(&self, type_url: &str, nonce: &str) -> bool {
        nonce.is_empty() || !self.unknown.contains_key(type_url)
    }

    /// What the next answer for such a type holds.
    pub(crate) fn give(&mut self, type_url: &str, page: Page) {
        if let Some(unknown) = self.unknown.get_mut(type_url) {
            unknown.page = Some(page);
        }
    }

    /// The answer that one of them still has to get.
    pub(super) fn answer_unknown(&mut self, view: &View) -> Option<Response> {
        let type_url =
            self.unknown.iter().find(|(_, unknown)| unknown.answer).map(|(text, _)| text.clone())?;
        let unknown = self.unknown.get_mut(&type_url)?;
        unknown.answer = false;
        let page = unknown.page.take().unwrap_or_default();
        self.nonce += 1;
        let nonce = self.nonce_text(self.nonce);
        let mut assembly = Assembly::new(self.form, page.resources.len());
        for (name, content) in &page.resources {
            assembly.put_page(name, content);
        }
        assembly.say_who(&page.control_plane);
        Some(assembly.finish(None, &type_url, &view.generation().0.to_string(), nonce, false))
    }
}
