//! `meltemi bootstrap`: what it prints is taken by the real Envoy, the way the documentation says.

use anyhow::Result;
use meltemi_testkit::envoy;
use tokio::process::Command;

use crate::program::{ended, meltemi, run};

const PROXY: &[&str] = &["bootstrap", "--proxy", "client.shop", "--label", "app=client", "--ip", "10.1.2.3"];

#[tokio::test]
async fn envoy_takes_the_bootstrap() -> Result<()> {
    for more in
        [&[][..], &["--interception", "NONE", "--xds-address", "meltemi.example:15010"], &["--ip", "fd00::7"]]
    {
        let arguments = [&PROXY[..5], &["--xds-address", "[::1]:15010"][..]].concat();
        let arguments = if more.is_empty() { arguments } else { [&PROXY[..5], more].concat() };
        let ended = ended(&arguments).await?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        envoy::validate(&ended.stdout).await?;
    }
    Ok(())
}

#[tokio::test]
async fn envoy_takes_the_bootstrap_from_a_pipe() -> Result<()> {
    // `envoy -c <(meltemi bootstrap ...)`: a name without an ending, by which Envoy knows YAML.
    let mut command = Command::new("bash");
    command.args(["-c", "exec \"$0\" --mode validate --log-level warn -c <(\"$@\")"]);
    command.arg(envoy::binary()?).arg(env!("CARGO_BIN_EXE_meltemi")).args(PROXY);
    let ended = run(command).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn the_node_is_the_proxy_that_was_asked_for() -> Result<()> {
    let ended = run(meltemi(PROXY)).await?;
    let bootstrap = ended.json()?;
    assert_eq!(bootstrap["node"]["id"], "sidecar~10.1.2.3~client.shop~shop.svc.cluster.local");
    assert_eq!(bootstrap["node"]["metadata"]["LABELS"]["app"], "client");
    assert_eq!(bootstrap["node"]["metadata"]["INTERCEPTION_MODE"], "REDIRECT");
    assert_eq!(bootstrap["dynamic_resources"]["ads_config"]["api_type"], "DELTA_GRPC");
    Ok(())
}
