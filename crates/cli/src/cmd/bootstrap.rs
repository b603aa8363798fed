//! `meltemi bootstrap`: an Envoy bootstrap on standard output.

use std::process::ExitCode;

use meltemi_agent::envoy::bootstrap::Bootstrap;

use crate::args::{BootstrapArgs, YamlOrJson};
use crate::render;

pub(crate) fn run(args: &BootstrapArgs) -> anyhow::Result<ExitCode> {
    let mut node = args.proxy.node();
    // Who tries a proxy by hand wants to see each request; where the mesh's settings say how to log, they count.
    node["metadata"]["MELTEMI_ACCESS_LOG"] = "true".into();
    let bootstrap =
        Bootstrap { node, xds: args.xds_address.clone(), admin: args.admin_address.clone(), companion: None };
    // Envoy takes a file whose name has no ending, as `<(meltemi bootstrap ...)` has, for JSON; JSON is YAML, too.
    render::value(&bootstrap.to_json(), YamlOrJson::Json)?;
    Ok(ExitCode::SUCCESS)
}
