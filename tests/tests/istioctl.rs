//! Istio's own `istioctl`, unmodified, asks Meltemi.
//!
//! Runs where `ISTIOCTL_BIN` names an `istioctl`. Else each test is reported as ignored, told as NOT RUN, and not counted as passed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Arguments;
use meltemi_names::TypeUrl;
use meltemi_testkit::kube::Cluster;
use meltemi_testkit::xds::{Form, Node, Sidecar};
use meltemi_tests::identity::{Authority, Peer};
use meltemi_tests::not_run;

/// After so long a test is given up.
const LIMIT: Duration = Duration::from_secs(240);

fn istioctl() -> Result<PathBuf> {
    let path = std::env::var_os("ISTIOCTL_BIN").filter(|path| !path.is_empty());
    let path = PathBuf::from(path.context("ISTIOCTL_BIN names no istioctl")?);
    ensure!(path.is_file(), "ISTIOCTL_BIN: {} is no file", path.display());
    Ok(path)
}

fn main() {
    let missing = istioctl().err().map(|missing| format!("{missing:#}"));
    let lacks = missing.is_some();
    let trials = vec![not_run::trial(
        "istioctl_shows_the_state_of_proxies",
        || not_run::within(LIMIT, shows()),
        lacks,
    )];
    not_run::run(&Arguments::from_args(), trials, missing.as_deref()).exit();
}

/// Runs it against a control plane with a certificate; what it printed.
async fn run(authority: &Authority, folder: &Path, arguments: &[&str]) -> Result<String> {
    let address = format!("localhost:{}", authority.secure().port());
    let folder = folder.display().to_string();
    let output = tokio::process::Command::new(istioctl()?)
        .args(arguments)
        .args(["--xds-address", &address, "--cert-dir", &folder, "--authority", "istiod.istio-system.svc"])
        .args(["--kubeconfig", &format!("{folder}/kubeconfig")])
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "istioctl {arguments:?}: {said}");
    Ok(said)
}

async fn shows() -> Result<()> {
    // The tool asks the cluster for Istio's webhooks first, and waits for an answer; there are none.
    let cluster = Cluster::start().await?;
    let authority = Authority::start(&[]).await?;
    let by = async |account: &str| -> Result<_> {
        let token = format!("Bearer {}", authority.token(account, "1h").await?);
        authority.connect(None).await?.hold(Peer { authorization: Some(&token) }, 0).await
    };
    let reviews = by("shop/reviews").await?;
    let node =
        Node::sidecar("reviews-1", "shop").metadata("CLUSTER_ID", "east").metadata("ISTIO_VERSION", "1.30.0");
    let mut sidecar =
        Sidecar::over(authority.connect(Some(&reviews)).await?.channel(), node, Form::Delta).await?;
    sidecar.until(LIMIT, |held| !held.names(TypeUrl::VirtualHost).is_empty()).await?;

    let folder = authority.place().join("istioctl");
    std::fs::create_dir(&folder)?;
    let holder = by("istio-system/default").await?;
    std::fs::write(folder.join("cert-chain.pem"), &holder.chain)?;
    std::fs::write(folder.join("key.pem"), holder.key.serialize_pem())?;
    std::fs::write(folder.join("root-cert.pem"), authority.roots()?)?;
    std::fs::copy(cluster.kubeconfig(), folder.join("kubeconfig"))?;

    let status = run(&authority, &folder, &["proxy-status", "--namespace", "shop"]).await?;
    let line =
        status.lines().find(|line| line.starts_with("reviews-1.shop")).with_context(|| status.clone())?;
    for word in ["east", "CDS", "LDS", "EDS", "RDS"] {
        ensure!(line.contains(word), "{word}: {status}");
    }
    let verbose = run(&authority, &folder, &["proxy-status", "--namespace", "shop", "-v", "1"]).await?;
    ensure!(verbose.contains("SYNCED"), "{verbose}");
    let syncz = run(&authority, &folder, &["experimental", "internal-debug", "syncz"]).await?;
    ensure!(syncz.contains("\"proxy\": \"reviews-1.shop\""), "{syncz}");
    let registry = run(&authority, &folder, &["experimental", "internal-debug", "registryz"]).await?;
    ensure!(registry.contains("reviews.shop.svc.cluster.local"), "{registry}");
    for (page, holds) in [
        ("endpointz", "{}"),
        ("configz", "[]"),
        ("instancesz", "reviews-1.shop"),
        ("sidecarz?proxyID=reviews-1.shop", "default-sidecar"),
        ("clusterz", "synced"),
        ("list", "config_dump"),
    ] {
        let shown = run(&authority, &folder, &["experimental", "internal-debug", page]).await?;
        ensure!(shown.contains(holds), "{page}: {shown}");
    }
    Ok(())
}
