//! `meltemi explain`: the way of one request, as a page to read or as JSON.
//!
//! Translates the folder for the sender, and for one proxy of each destination; the walk says what Envoy would do; [`page`] says it in
//! words. Must not know Envoy's rules.

mod connection;
mod explanation;
mod page;
mod patches;
mod request;
mod resolve;
mod rule;
mod sent;
mod telemetry;
pub(crate) mod workload;

use std::process::ExitCode;

use self::explanation::Explanation;
pub(crate) use self::request::{Url, header, method};
use crate::args::{ExplainArgs, TextOrJson, YamlOrJson};
use crate::state::State;
use crate::{process, render};

pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let state = State::read(&args.source)?;
    let store = state.store();
    let explanation = Explanation::of(&state, store.mesh(), args)?;
    match args.output {
        TextOrJson::Json => render::value(&explanation, YamlOrJson::Json)?,
        TextOrJson::Text => {
            render::text_out(&page::of(&explanation, render::coloured(args.color)))?;
        }
    }
    process::leave((state, store));
    Ok(ExitCode::SUCCESS)
}
