//! The TLS port of a real `meltemi serve`: who gets a certificate and configuration, who does not and why, and how the root is changed.
//!
//! Clients speak TLS by rustls; certificates are judged by OpenSSL beside it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::{Form, Node, Sidecar};
use meltemi_tests::identity::forge::{self, Leaf};
use meltemi_tests::identity::{Authority, Client, Holder, Peer, request, until};
use serde_json::{Value, json};
use tonic::{Code, Status};

const REVIEWS: &str = "spiffe://cluster.local/ns/shop/sa/reviews";
const SECRETS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// After so long a test has failed.
const LIMIT: Duration = Duration::from_secs(120);

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn by(authorization: &str) -> Peer<'_> {
    Peer { authorization: Some(authorization) }
}

fn reviews() -> Node {
    Node::sidecar("reviews-1", "shop").metadata("SERVICE_ACCOUNT", "reviews")
}

/// Runs OpenSSL in `folder`, which must succeed; all that it said.
fn openssl(folder: &Path, arguments: &str) -> Result<String> {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "openssl {arguments}: {said}");
    Ok(said)
}

/// The code of what must be refused.
fn code<T>(answer: Result<T, Status>) -> Code {
    match answer {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

/// A certificate for the reviews, by a token.
async fn hold(authority: &Authority) -> Result<Holder> {
    let token = bearer(&authority.token("shop/reviews", "1h").await?);
    authority.connect(None).await?.hold(by(&token), 0).await
}

/// A connection with that certificate is good for a renewal.
async fn is_taken(authority: &Authority, holder: &Holder) -> Result<()> {
    let client = authority.connect(Some(holder)).await?;
    client.certificate(Peer::default(), &request()?.1, 0).await?;
    Ok(())
}

#[tokio::test]
async fn a_token_gets_a_certificate_which_opens_streams_and_renews_itself() -> Result<()> {
    let authority = Authority::start(&[]).await?;
    let token = bearer(&authority.token("shop/reviews", "1h").await?);
    let client = authority.connect(None).await?;
    let (key, csr) = request()?;
    let answer = client.certificate(by(&token), &csr, 0).await?;
    ensure!(answer.len() == 2, "the certificate and the roots: {answer:?}");
    ensure!(answer[1] == authority.roots()?, "the roots of the answer are those of the folder");

    let place = authority.place();
    std::fs::write(place.join("leaf.pem"), &answer[0])?;
    std::fs::write(place.join("roots.pem"), &answer[1])?;
    openssl(place, "verify -x509_strict -purpose sslclient -CAfile roots.pem leaf.pem")?;
    openssl(place, "verify -x509_strict -purpose sslserver -CAfile roots.pem leaf.pem")?;
    let text = openssl(place, "x509 -in leaf.pem -noout -ext subjectAltName")?;
    ensure!(text.contains(&format!("URI:{REVIEWS}")) && !text.contains("nobody"), "{text}");

    let holder = Holder { key, chain: answer[0].clone() };
    let client = authority.connect(Some(&holder)).await?;
    let mut sidecar = Sidecar::over(client.channel(), reviews(), Form::Delta).await?;
    sidecar.until(LIMIT, |held| !held.names(TypeUrl::Listener).is_empty()).await?;
    let proxies = authority.server()?.proxies().await?;
    ensure!(proxies["proxies"][0]["identity"] == REVIEWS, "{proxies}");
    // The certificate alone renews, on the connection of the stream.
    let renewed = client.hold(Peer::default(), 0).await?;
    ensure!(renewed.chain != holder.chain);
    is_taken(&authority, &renewed).await?;
    // A token alone opens a stream as well, in both forms of the node.
    let client = authority.connect(None).await?;
    client.stream(by(&token), &reviews()).await?;
    client.stream(by(&token), &Node::sidecar("reviews-1", "shop")).await?;
    // With the identity secrets may be asked for; there are none.
    client.stream_of(by(&token), &reviews(), SECRETS).await?;
    Ok(())
}

#[tokio::test]
async fn clients_find_the_control_plane_by_each_of_its_names_and_by_no_other() -> Result<()> {
    let authority = Authority::start(&["--revision", "canary", "--custom-host", "mesh.example"]).await?;
    let roots = authority.roots()?;
    let names = [
        "istiod.istio-system.svc",
        "istiod-remote.istio-system.svc",
        "istio-pilot.istio-system.svc",
        "istiod-canary.istio-system.svc",
        "meltemi.istio-system.svc",
        "mesh.example",
        "localhost",
        "127.0.0.1",
    ];
    for name in names {
        Client::connect(authority.secure(), &roots, name, None).await.with_context(|| name.to_owned())?;
    }
    for name in ["istiod.default.svc", "example.com", "10.0.0.1"] {
        let connected = Client::connect(authority.secure(), &roots, name, None).await;
        ensure!(connected.is_err(), "{name}");
    }
    // OpenSSL, another opinion, with TLS 1.2 and 1.3; nothing is spoken below.
    let address = authority.secure();
    for version in ["-tls1_2", "-tls1_3"] {
        let client = format!(
            "s_client -connect {address} {version} -alpn h2 -CAfile state/root-cert.pem -verify_return_error -verify_hostname istiod.istio-system.svc"
        );
        let said = openssl(authority.place(), &client)?;
        ensure!(said.contains("ALPN protocol: h2") && said.contains("Verify return code: 0"), "{said}");
    }
    let old = format!("s_client -connect {address} -tls1_1 -cipher ALL:@SECLEVEL=0");
    ensure!(openssl(authority.place(), &old).is_err(), "TLS 1.1 is refused");
    Ok(())
}

#[tokio::test]
async fn whoever_proves_nothing_is_nobody() -> Result<()> {
    let authority = Authority::start(&[]).await?;
    let client = authority.connect(None).await?;
    let key = forge::token_key(&authority.state())?;
    let good = forge::token(&key, &forge::claims("shop:reviews", 0));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claims = forge::claims("shop:reviews", 0);
        change(&mut claims);
        bearer(&forge::token(&key, &claims))
    };
    let unsigned = format!("{}.", good.rsplit_once('.').context("a token")?.0);
    let refused = [
        ("no token", String::new()),
        ("an empty one", "Bearer ".to_owned()),
        ("no JWT", bearer("secret")),
        ("another scheme", format!("Basic {good}")),
        ("the scheme in lower case", format!("bearer {good}")),
        ("no signature", bearer(&unsigned)),
        ("another key", bearer(&forge::token(&forge::other_token_key()?, &forge::claims("shop:reviews", 0)))),
        ("replayed after its life", bearer(&forge::token(&key, &forge::claims("shop:reviews", 3700)))),
        ("another audience", with(&|claims| claims["aud"] = json!("vault"))),
        (
            "a life of a year",
            with(&|claims| claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 31_536_000)),
        ),
        ("no account", with(&|claims| claims["sub"] = json!("system:node:one"))),
        ("an account of two parts", with(&|claims| claims["sub"] = json!("system:serviceaccount:shop:a:b"))),
    ];
    for (what, authorization) in &refused {
        let peer = if authorization.is_empty() { Peer::default() } else { by(authorization) };
        let answer = client.certificate(peer, &request()?.1, 0).await;
        ensure!(code(answer) == Code::Unauthenticated, "{what}: a certificate");
        let answer = client.stream(peer, &reviews()).await;
        ensure!(code(answer) == Code::Unauthenticated, "{what}: a stream");
    }
    // The same token, good.
    client.certificate(by(&bearer(&good)), &request()?.1, 0).await?;
    client.stream(by(&bearer(&good)), &reviews()).await?;
    let refusals = authority.metric("meltemi_ca_certificates_total{code=\"Unauthenticated\"}").await?;
    ensure!(refusals == refused.len() as u64, "{refusals}");
    let refusals = authority.metric("meltemi_ca_streams_refused_total{reason=\"Unauthenticated\"}").await?;
    ensure!(refusals == refused.len() as u64, "{refusals}");
    let log = authority.server()?.log();
    ensure!(!log.contains(&good), "tokens are never logged");
    ensure!(log.contains("token=\"forged\""), "a token's ID is logged where it is taken: {log}");
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_replayed_after_its_life_is_refused() -> Result<()> {
    let authority = Authority::start(&[]).await?;
    let client = authority.connect(None).await?;
    let token = bearer(&authority.token("shop/reviews", "15s").await?);
    client.certificate(by(&token), &request()?.1, 0).await?;
    until("refused", async || match client.certificate(by(&token), &request()?.1, 0).await {
        Ok(_) => Ok(false),
        Err(status) => {
            ensure!(status.code() == Code::Unauthenticated, "{status}");
            Ok(true)
        }
    })
    .await?;
    let (code, said) = authority.command(&["token", "--for", "shop/reviews", "--life", "25h"]).await?;
    ensure!(code == 1 && said.contains("a day at most"), "{code}: {said}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_counts_only_if_the_mesh_gave_it_and_it_lives() -> Result<()> {
    let authority = Authority::start(&[]).await?;
    let (own, other) = (forge::stolen(&authority.state())?, forge::foreign()?);
    let leaf = |names| Leaf { names, hours: 1 };
    let refused = [
        ("Foreign", "self-signed", forge::self_signed(&leaf(&[REVIEWS]))?),
        ("Foreign", "of another root", forge::signed(&other, &leaf(&[REVIEWS]))?),
        ("Expired", "expired", forge::signed(&own, &Leaf { names: &[REVIEWS], hours: -1 })?),
        (
            "Name",
            "of another trust domain",
            forge::signed(&own, &leaf(&["spiffe://other.example/ns/shop/sa/reviews"]))?,
        ),
        (
            "Name",
            "of two names",
            forge::signed(&own, &leaf(&[REVIEWS, "spiffe://cluster.local/ns/shop/sa/ratings"]))?,
        ),
        ("Name", "of no workload", forge::signed(&own, &leaf(&["spiffe://cluster.local/shop"]))?),
        ("Name", "of no name", forge::signed(&own, &leaf(&[]))?),
    ];
    for (reason, what, holder) in &refused {
        let line = format!("meltemi_ca_handshakes_refused_total{{reason=\"{reason}\"}}");
        let before = authority.metric(&line).await?;
        // The server verifies last: the client may hear of it with its first request only. A token does not help.
        let token = bearer(&authority.token("shop/reviews", "1h").await?);
        let asked = match authority.connect(Some(holder)).await {
            Ok(client) => client.certificate(by(&token), &request()?.1, 0).await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        ensure!(asked.is_err(), "{what}");
        // A client that is cut off may try again by itself: one or more.
        until(what, async || Ok(authority.metric(&line).await? > before)).await?;
    }
    // The same key and the same forger, and nothing wrong.
    is_taken(&authority, &forge::signed(&own, &leaf(&[REVIEWS]))?).await
}

#[tokio::test]
async fn an_alias_of_the_trust_domain_is_taken_and_renewed_under_the_mesh_s_own() -> Result<()> {
    let settings = tempfile::NamedTempFile::new()?;
    std::fs::write(settings.path(), "trustDomain: shop.example\ntrustDomainAliases: [cluster.local]\n")?;
    let settings = settings.path().display().to_string();
    let authority = Authority::start(&["--mesh-config", &settings]).await?;
    let own = forge::stolen(&authority.state())?;
    let before = forge::signed(&own, &Leaf { names: &[REVIEWS], hours: 1 })?;
    let client = authority.connect(Some(&before)).await?;
    let renewed = client.hold(Peer::default(), 0).await?;
    std::fs::write(authority.place().join("leaf.pem"), &renewed.chain)?;
    let text = openssl(authority.place(), "x509 -in leaf.pem -noout -ext subjectAltName")?;
    ensure!(text.contains("URI:spiffe://shop.example/ns/shop/sa/reviews"), "{text}");
    client.stream(Peer::default(), &reviews()).await?;
    Ok(())
}

#[tokio::test]
async fn a_proxy_is_served_as_nobody_but_whom_it_is_authenticated_for() -> Result<()> {
    let authority = Authority::start(&[]).await?;
    let holder = hold(&authority).await?;
    let client = authority.connect(Some(&holder)).await?;
    for (what, node) in [
        ("another namespace", Node::sidecar("a", "bank")),
        (
            "another namespace, its own account",
            Node::sidecar("a", "bank").metadata("SERVICE_ACCOUNT", "reviews"),
        ),
        ("another account", Node::sidecar("a", "shop").metadata("SERVICE_ACCOUNT", "ratings")),
    ] {
        let answer = client.stream(Peer::default(), &node).await;
        ensure!(code(answer) == Code::PermissionDenied, "{what}");
    }
    client.stream(Peer::default(), &reviews()).await?;
    // The certificate counts first: another's token beside it changes nothing.
    let token = bearer(&authority.token("bank/vault", "1h").await?);
    let answer = client.stream(by(&token), &Node::sidecar("a", "bank")).await;
    ensure!(code(answer) == Code::PermissionDenied);

    // On the plain port nobody is anybody: configuration, and nothing that needs an identity.
    let plain = authority.server()?.addresses().xds;
    let mut sidecar = Sidecar::connect(plain, reviews(), Form::Delta).await?;
    sidecar.until(LIMIT, |held| !held.names(TypeUrl::Listener).is_empty()).await?;
    let plain = Client::plain(plain).await?;
    plain.stream(Peer::default(), &reviews()).await?;
    for kind in [SECRETS, "istio.io/debug", "istio.io/debug/syncz"] {
        let answer = plain.stream_of(Peer::default(), &reviews(), kind).await;
        ensure!(code(answer) == Code::PermissionDenied, "{kind}");
    }
    let answer = plain.certificate(by(&token), &request()?.1, 0).await;
    ensure!(code(answer) == Code::Unimplemented, "there is no certificate service without TLS");
    let refused = authority.metric("meltemi_ca_streams_refused_total{reason=\"NeedsIdentity\"}").await?;
    ensure!(refused == 3, "{refused}");
    Ok(())
}

#[tokio::test]
async fn what_is_too_large_or_too_long_is_refused_at_the_bound() -> Result<()> {
    let authority = Authority::start(&["--max-workload-cert-ttl", "48h"]).await?;
    let token = bearer(&authority.token("shop/reviews", "1h").await?);
    let client = authority.connect(None).await?;
    let csr = request()?.1;
    let most = 48 * 3600;
    let answer = client.certificate(by(&token), &csr, most).await?;
    std::fs::write(authority.place().join("leaf.pem"), &answer[0])?;
    // Two minutes of the past besides, and a second or two in which it was asked for.
    openssl(authority.place(), &format!("x509 -in leaf.pem -noout -checkend {}", most - 60))?;
    let longer = client.certificate(by(&token), &csr, most + 1).await;
    ensure!(code(longer) == Code::InvalidArgument);
    for csr in ["", "hello", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
    {
        ensure!(code(client.certificate(by(&token), csr, 0).await) == Code::InvalidArgument, "{csr}");
    }
    // As text 16 KiB are read, and a message of twice that.
    let padded = |bytes: usize| format!("{csr}{}", "\n".repeat(bytes - csr.len()));
    client.certificate(by(&token), &padded(16 << 10), 0).await?;
    let answer = client.certificate(by(&token), &padded((16 << 10) + 1), 0).await;
    ensure!(code(answer) == Code::InvalidArgument);
    let answer = client.certificate(by(&token), &padded(33 << 10), 0).await;
    ensure!(code(answer) == Code::OutOfRange);
    // Still there for others.
    client.certificate(by(&token), &csr, 0).await?;
    Ok(())
}

#[tokio::test]
async fn the_port_renews_its_certificate_while_connections_live() -> Result<()> {
    let authority = Authority::start(&["--workload-cert-ttl", "20s"]).await?;
    let token = bearer(&authority.token("shop/reviews", "1h").await?);
    let client = authority.connect(None).await?;
    client.certificate(by(&token), &request()?.1, 0).await?;
    until("two renewals", async || {
        Ok(authority.server()?.log().matches("the TLS port has a new certificate").count() > 2)
    })
    .await?;
    client.certificate(by(&token), &request()?.1, 0).await?;
    authority.connect(None).await?.certificate(by(&token), &request()?.1, 0).await?;
    Ok(())
}

#[tokio::test]
async fn the_root_is_changed_step_by_step_and_a_crash_at_each_step_loses_nothing() -> Result<()> {
    let mut authority = Authority::start(&[]).await?;
    let first = hold(&authority).await?;
    let before = authority.roots()?;
    let (exit, said) = authority.command(&["ca", "rotate", "--timeout", "10s"]).await?;
    ensure!(exit == 1 && said.contains("the time is up") && said.contains("renewing: "), "{exit}: {said}");

    // Both are trusted, the old one signs, and whoever asks learns of both.
    for crash in [false, true] {
        if crash {
            authority.kill().await?;
            authority.restart().await?;
        }
        let status = authority.status().await?;
        ensure!(status["phase"] == "renewing" && status["waiting"]["for"] == "workloads", "{status}");
        until("both roots", async || {
            let roots = authority.roots()?;
            Ok(roots.starts_with(&before) && roots.matches("BEGIN CERTIFICATE").count() == 2)
        })
        .await?;
        let roots = authority.roots()?;
        is_taken(&authority, &first).await?;
        let token = bearer(&authority.token("shop/reviews", "1h").await?);
        let answer = authority.connect(None).await?.certificate(by(&token), &request()?.1, 0).await?;
        ensure!(answer.last() == Some(&roots));
        // A workload that knows the old root alone is still served.
        Client::connect(authority.secure(), &before, "localhost", None).await?;
        std::fs::write(authority.place().join("old.pem"), &before)?;
        std::fs::write(authority.place().join("leaf.pem"), &answer[0])?;
        openssl(authority.place(), "verify -CAfile old.pem leaf.pem")?;
    }

    // Forced on: it is said who loses, and then done.
    let (exit, said) = authority.command(&["ca", "rotate", "--force"]).await?;
    let warned = said.find("not waiting for workloads that trust only the old root").context("a warning")?;
    ensure!(exit == 0 && warned < said.find("retiring: ").context("the step")?, "{said}");
    for crash in [false, true] {
        if crash {
            authority.kill().await?;
            authority.restart().await?;
        }
        let status = authority.status().await?;
        ensure!(status["phase"] == "retiring" && status["waiting"]["for"] == "expiry", "{status}");
        until("both roots, the new one first", async || {
            let roots = authority.roots()?;
            Ok(roots.ends_with(&before) && roots.matches("BEGIN CERTIFICATE").count() == 2)
        })
        .await?;
        is_taken(&authority, &first).await?;
    }
    let second = hold(&authority).await?;
    is_taken(&authority, &second).await?;
    std::fs::write(authority.place().join("leaf.pem"), &second.chain)?;
    ensure!(openssl(authority.place(), "verify -CAfile old.pem leaf.pem").is_err(), "the new one signs");

    let (exit, said) = authority.command(&["ca", "rotate", "--force"]).await?;
    ensure!(exit == 0 && said.contains("not waiting for certificates that the old root signed"), "{said}");
    for crash in [false, true] {
        if crash {
            authority.kill().await?;
            authority.restart().await?;
        }
        let status = authority.status().await?;
        ensure!(
            status["phase"] == "steady" && status["signers"].as_array().map(Vec::len) == Some(1),
            "{status}"
        );
        until("the old root is gone", async || Ok(!authority.roots()?.contains(&before))).await?;
        is_taken(&authority, &second).await?;
        until("what it signed is refused", async || Ok(is_taken(&authority, &first).await.is_err())).await?;
    }
    let keys = std::fs::read_dir(authority.state())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with("-key.pem") && name != "token-key.pem");
    ensure!(keys.count() == 1, "the retired key is removed");
    Ok(())
}

#[tokio::test]
async fn connections_that_say_nothing_hold_up_nobody() -> Result<()> {
    let authority = Authority::start(&[]).await?;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(tokio::net::TcpStream::connect(authority.secure()).await?);
    }
    // More than there are places for: those that are there must go when their time is up.
    hold(&authority).await?;
    until("their time is up", async || {
        Ok(authority.metric("meltemi_ca_handshakes_refused_total{reason=\"Slow\"}").await? >= 256)
    })
    .await?;
    drop(silent);
    hold(&authority).await?;
    Ok(())
}

#[tokio::test]
async fn a_control_plane_that_ends_sends_its_proxies_on() -> Result<()> {
    let mut authority = Authority::start(&[]).await?;
    let holder = hold(&authority).await?;
    let client = authority.connect(Some(&holder)).await?;
    let clusters = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    let mut stream = client.stream_of(Peer::default(), &reviews(), clusters).await?;
    authority.terminate().await?;
    // The end of the stream is an end, and no broken connection.
    let end = tokio::time::timeout(LIMIT, stream.message()).await?;
    ensure!(matches!(end, Ok(None)), "{end:?}");
    Ok(())
}

#[tokio::test]
async fn a_state_folder_has_one_user_and_keys_that_are_its_own() -> Result<()> {
    let mut authority = Authority::start(&[]).await?;
    let (well, log) = authority.launch().await?.ended().await?;
    ensure!(!well && log.contains("another meltemi uses this state folder"), "{log}");
    // The first one is none the worse.
    hold(&authority).await?;

    authority.kill().await?;
    let key = authority.state().join("token-key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644))?;
    let (well, log) = authority.launch().await?.ended().await?;
    ensure!(!well && log.contains("0644") && log.contains("chmod 600"), "{log}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
    authority.restart().await?;
    hold(&authority).await?;
    Ok(())
}

#[tokio::test]
async fn a_token_may_be_made_before_the_control_plane_is_there() -> Result<()> {
    let mut authority = Authority::start(&[]).await?;
    let other = tempfile::tempdir()?;
    let state = other.path().join("state").display().to_string();
    let arguments = ["token", "--for", "shop/reviews", "--state-dir", &state];
    let (exit, said) = authority.server()?.command(&arguments).await?;
    ensure!(exit == 0, "{said}");
    let token = said.lines().find(|line| line.starts_with("eyJ")).context("a token")?.to_owned();
    authority.kill().await?;
    std::fs::remove_dir_all(authority.state())?;
    std::fs::rename(&state, authority.state())?;
    authority.restart().await?;
    authority.connect(None).await?.hold(by(&bearer(&token)), 0).await?;
    Ok(())
}
