//! What is on the wire between two sidecars.

use anyhow::{Context, Result, ensure};
use meltemi_tests::live::{rule, split};
use meltemi_tests::meshed::{Openssl, SERVICE, Use, Visitor, chain, until, uri_names, verified};
use serde_json::Value;

use crate::world::{APP, CLIENT, SERVER, SNI, TAPPED, World};

/// Handshakes that a pod's inbound side completed.
pub(crate) const HANDSHAKES: &str = r"^listener\..*15006.*\.ssl\.handshake$";

/// What the inbound side says of the client's certificate, as the app sees it.
fn forwarded(seen: &Value) -> Result<&str> {
    seen["headers"]["x-forwarded-client-cert"]
        .as_str()
        .with_context(|| format!("no client certificate in {seen}"))
}

/// Each side has its own name, and the other saw it in a handshake; nobody asked for TLS.
pub(crate) async fn seen(world: &mut World) -> Result<()> {
    let seen = world.call().await?;
    let forwarded = forwarded(&seen)?;
    ensure!(forwarded.contains(&format!("URI={CLIENT}")), "{forwarded}");
    ensure!(forwarded.contains(&format!("By={SERVER}")), "{forwarded}");
    ensure!(world.client.names().await? == [CLIENT]);
    ensure!(world.server.names().await? == [SERVER]);
    let handshakes = world.server.sum(HANDSHAKES).await?;
    ensure!(handshakes > 0, "no handshake");

    // Both sides count it, and know each other's name.
    for (pod, words) in [
        (
            &world.client,
            [
                r#"reporter="source""#,
                r#"source_app="client""#,
                r#"destination_app="myapp""#,
                r#"destination_version="v1""#,
            ],
        ),
        (
            &world.server,
            [
                r#"reporter="destination""#,
                r#"connection_security_policy="mutual_tls""#,
                r#"source_principal="spiffe://cluster.local/ns/default/sa/client""#,
                r#"destination_principal="spiffe://cluster.local/ns/default/sa/server""#,
            ],
        ),
    ] {
        until("the request is counted", async || {
            let text = pod.metrics().await?;
            let counted = text.lines().filter(|line| line.starts_with("istio_requests_total{"));
            let mut counted = counted.filter(|line| words.iter().all(|words| line.contains(words)));
            let missing = || format!("no istio_requests_total with {words:?} in {text}");
            counted.find(|line| line.contains(r#"response_code="200""#)).with_context(missing).map(drop)
        })
        .await?;
    }

    // What the app was told came from the connection, not from the client.
    let lie = meltemi_testkit::http::Request::get("/")
        .host(APP)
        .header("x-forwarded-client-cert", "URI=spiffe://a/ns/b/sa/c");
    let answer = lie.send_through(&world.client.pod().connector(), SERVICE).await?.json();
    ensure!(!self::forwarded(&answer)?.contains("spiffe://a/"), "{answer}");
    Ok(())
}

/// A client of another make is served if it has a certificate of the mesh; the server's certificate satisfies others' verifiers.
pub(crate) async fn judged(world: &mut World) -> Result<()> {
    let (roots, own) = (world.mesh.roots()?, world.mesh.certificate("default/client").await?);
    let nobody = Visitor::nobody(SNI);

    let theirs = nobody.showing(&own).chain(&world.strange(), world.inbound(), &["istio"]).await?;
    verified(&theirs, &roots, Use::Server)?;
    let leaf = theirs.first().context("no certificate")?;
    ensure!(uri_names(leaf)? == [SERVER], "{:?}", uri_names(leaf)?);
    let ours = chain(&own.chain)?;
    verified(&ours, &roots, Use::Client)?;
    ensure!(uri_names(ours.first().context("no certificate")?)? == [CLIENT]);

    let answered = world.knock(nobody.showing(&own)).await?;
    ensure!(answered.is_status(200), "{answered:?}");
    let without = world.knock(nobody).await?;
    ensure!(without.refusal().is_some_and(|reason| reason.contains("CertificateRequired")), "{without:?}");

    let openssl = Openssl::new()?;
    for purpose in ["sslserver", "sslclient"] {
        openssl.verify(&own.chain, &roots, purpose).await?;
    }
    let said =
        openssl.extensions(&own.chain, "subjectAltName,keyUsage,extendedKeyUsage,basicConstraints").await?;
    for words in [
        "Subject Alternative Name: critical",
        &format!("URI:{CLIENT}"),
        "Digital Signature",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "CA:FALSE",
    ] {
        ensure!(said.contains(words), "no `{words}` in {said}");
    }
    let said = openssl.client(&world.stranger, world.inbound(), &own, &roots, SNI).await?;
    ensure!(said.contains("Verify return code: 0 (ok)"), "{said}");
    Ok(())
}

/// The server's name says port, subset and host, which is how others route by it.
pub(crate) async fn server_name(world: &mut World) -> Result<()> {
    let (host, address) = TAPPED;
    let (answer, hello) = tokio::join!(world.client.get(address, host), world.tap.hello());
    let hello = hello?;
    ensure!(hello.name.as_deref() == Some("outbound_.80_._.tapped.default.svc.cluster.local"), "{hello:?}");
    ensure!(hello.protocols.iter().any(|name| name == "istio"), "{hello:?}");
    // The tap does not speak on.
    ensure!(answer?.status == 503);

    world.mesh.save("tapped-rule.yaml", &rule(host, &["v2"], ""), 2).await?;
    world.mesh.save("tapped-route.yaml", &split(host, &[("v2", 100)]), 2).await?;
    // Requests under way before the route may still be tried again.
    let wanted = "outbound_.80_.v2_.tapped.default.svc.cluster.local";
    loop {
        let (_, hello) = tokio::join!(world.client.get(address, host), world.tap.hello());
        let name = hello?.name;
        if name.as_deref() == Some(wanted) {
            return Ok(());
        }
        ensure!(name.as_deref() == Some("outbound_.80_._.tapped.default.svc.cluster.local"), "{name:?}");
    }
}
