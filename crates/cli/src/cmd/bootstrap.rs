//! `meltemi bootstrap`: an Envoy bootstrap on standard output.

use std::process::ExitCode;

use anyhow::anyhow;

use crate::args::{BootstrapArgs, YamlOrJson};
use crate::bootstrap::{Addresses, address, bootstrap};
use crate::render;

pub(crate) fn run(args: &BootstrapArgs) -> anyhow::Result<ExitCode> {
    let addresses = Addresses {
        xds: address(&args.xds_address).map_err(|why| anyhow!("--xds-address: {why}"))?,
        admin: address(&args.admin_address).map_err(|why| anyhow!("--admin-address: {why}"))?,
    };
    let mut node = args.proxy.node();
    // Who tries a proxy by hand wants to see each request; where the mesh's settings say how to log, they count.
    node["metadata"]["MELTEMI_ACCESS_LOG"] = "true".into();
    render::value(&bootstrap(&node, &addresses), YamlOrJson::Yaml)?;
    Ok(ExitCode::SUCCESS)
}
