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
    render::value(&bootstrap(&args.proxy.node(), &addresses), YamlOrJson::Yaml)?;
    Ok(ExitCode::SUCCESS)
}
