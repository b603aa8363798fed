//! The walk and a real Envoy agree: generated requests over a generated mesh go through both, and must come to the same end.
//!
//! One Envoy, on loopback. What is compared: the status, a redirect's location, which workload answered (hence which cluster), and the
//! path and host that it was sent.

#[path = "live_walk/generate.rs"]
mod generate;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use meltemi_catalog::View;
use meltemi_names::TypeUrl;
use meltemi_testkit::envoy::{Envoy, bootstrap_of};
use meltemi_testkit::http::{Answer, App, Request as Sent};
use meltemi_tests::live::free_port;
use meltemi_tests::mesh;
use meltemi_views::Options;
use meltemi_walk::{
    Action, Cause, Configuration, Cors, Destination, Forward, Handling, Request, Seen, Way, walk,
};
use serde_json::{Map, Value};

/// Name and version of the app at each address.
type Apps = BTreeMap<String, (&'static str, &'static str)>;

/// How many requests; the first of them are the same in every run.
const REQUESTS: usize = 600;

const TYPES: [(&str, TypeUrl); 4] = [
    ("clusters", TypeUrl::Cluster),
    ("endpoints", TypeUrl::Endpoint),
    ("listeners", TypeUrl::Listener),
    ("routes", TypeUrl::Route),
];

/// What the proxy is served, for the walk and for Envoy; both with the listener of port 80 at `port`, which is free.
fn both(view: &View, port: u16) -> Result<(Configuration, Value)> {
    let mut configuration = Configuration::default();
    let mut resources = Map::new();
    for (stem, type_url) in TYPES {
        let mut all = Vec::new();
        for live in view.all(type_url) {
            let mut json = meltemi_proto::json::to_json(type_url.as_str(), &live.resource.body().to_vec())?;
            if type_url == TypeUrl::Listener && json["address"]["socket_address"]["port_value"] == 80 {
                json["address"]["socket_address"]["port_value"] = port.into();
            }
            let body = meltemi_proto::json::from_json(type_url.as_str(), &json)?;
            configuration.add(type_url, live.resource.name().as_str(), body);
            all.push(json);
        }
        resources.insert(stem.to_owned(), Value::Array(all));
    }
    Ok((configuration, Value::Object(resources)))
}

#[tokio::test]
async fn generated_requests_end_where_the_walk_says() -> Result<()> {
    let port = free_port()?;
    // Each workload is an app of its own: who answers tells the cluster.
    let mut running = Vec::new();
    let mut apps = Apps::new();
    for service in generate::SERVICES {
        for version in generate::VERSIONS {
            let app = App::start(service, version).await?;
            apps.insert(app.address().to_string(), (service, version));
            running.push(app);
        }
    }
    let mut random = generate::Random::new(20_261_125);
    let yaml = generate::mesh(&mut random, &apps);
    let mut engine = mesh::engine(Options { virtual_hosts: false, ..Options::default() }, &yaml);
    let client = engine.connect(mesh::proxy("client.default", &[("app", "client")], "NONE", false));
    let (configuration, resources) = both(&engine.view(client), port)?;
    let envoy = Envoy::start(bootstrap_of(&resources).to_string()).await?;

    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for _ in 0..REQUESTS {
        let generated = generate::request(&mut random);
        let destination = Destination { address: Some([127, 0, 0, 1].into()), port };
        let mut request = Request::new(generated.method, &generated.host, &generated.path, destination);
        request.headers.clone_from(&generated.headers);
        let way = walk(&configuration, &request)?;
        ensure!(way.unread.is_empty(), "{generated:?}: {:?}", way.unread);
        let mut sent = Sent::new(generated.method, &generated.path).host(&generated.host);
        for (name, value) in &generated.headers {
            sent = sent.header(name, value);
        }
        let answer = sent.send(([127, 0, 0, 1], port).into()).await?;
        match judged(&way, &request, &answer, &apps) {
            Ok(end) => *ends.entry(end).or_default() += 1,
            Err(error) => wrong.push(format!(
                "{generated:?}\n  Envoy: {} {:?}\n  {error:#}\n  the walk: {}",
                answer.status,
                answer.headers,
                serde_json::to_string(&way)?
            )),
        }
    }
    ensure!(wrong.is_empty(), "{} of {REQUESTS} differ:\n{}\n{yaml}", wrong.len(), wrong.join("\n"));
    // The mesh and the requests are the same in every run, and must go on to reach every kind of end.
    println!("{ends:?}");
    for end in ["endpoint", "redirect", "direct_response", "no_route", "no_endpoint", "fault_abort"] {
        ensure!(ends.get(end).is_some_and(|count| *count >= 5), "hardly any request ends by {end}: {ends:?}");
    }
    envoy.stop().await?;
    drop(running);
    Ok(())
}

/// What browsers are told.
fn cors(way: &Way) -> Option<&Cors> {
    match &way.handling {
        Some(Handling::Http(http)) => http.route.as_ref()?.cors.as_ref(),
        _ => None,
    }
}

/// By which end the answer came; an error if it is none of those that the walk says.
fn judged(way: &Way, request: &Request, answer: &Answer, apps: &Apps) -> Result<String> {
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let told: BTreeMap<String, String> = answer
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("access-control-"))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    let expected = cors(way).map(|cors| cors.headers.iter().cloned().collect()).unwrap_or_default();
    ensure!(told == expected, "browsers are told {told:?}, not {expected:?}");
    if let Some(name) = header("x-app-name") {
        let version = header("x-app-version").unwrap_or_default();
        let forward = forward(way).context("the walk does not send it on")?;
        let from = forward.destinations.iter().filter(|to| !to.share.is_none()).find(|to| {
            to.cluster.endpoints.iter().any(|endpoint| apps.get(&endpoint.address) == Some(&(name, version)))
        });
        let from = from.with_context(|| format!("{name} {version} is in none of its clusters"))?;
        let expected = Seen::Endpoint { cluster: from.cluster.name.clone() };
        ensure!(way.seen.iter().any(|part| part.seen == expected), "it is not among what is seen");
        let echo: Value = serde_json::from_slice(&answer.body)?;
        let path = forward.path.as_deref().or(normalized(way)).unwrap_or(&request.path);
        ensure!(echo["path"] == path, "the path {} arrived, not {path}", echo["path"]);
        let host = from.authority.as_ref().or(forward.authority.as_ref()).unwrap_or(&request.authority);
        ensure!(echo["host"] == *host, "the host {} arrived, not {host}", echo["host"]);
        for change in way_headers(way) {
            ensure!(
                echo["headers"][&change.0] == change.1,
                "header {} is {}",
                change.0,
                echo["headers"][&change.0]
            );
        }
        return Ok("endpoint".to_owned());
    }
    let seen = way.seen.iter().find_map(|part| match part.seen {
        Seen::Status { status, cause, .. } if status == u32::from(answer.status) => Some(cause),
        _ => None,
    });
    let cause = seen.context("that status is none of what is seen")?;
    if cause == Cause::Redirect {
        let Some(Action::Redirect { location, .. }) = action(way) else { anyhow::bail!("no redirect") };
        ensure!(header("location") == Some(location.as_str()), "not to {location}");
    }
    Ok(serde_json::to_value(cause)?.as_str().unwrap_or_default().to_owned())
}

fn action(way: &Way) -> Option<&Action> {
    match &way.handling {
        Some(Handling::Http(http)) => http.route.as_ref().map(|route| &route.action),
        _ => None,
    }
}

fn forward(way: &Way) -> Option<&Forward> {
    match action(way)? {
        Action::Forward(forward) => Some(forward),
        _ => None,
    }
}

fn normalized(way: &Way) -> Option<&str> {
    match &way.handling {
        Some(Handling::Http(http)) => http.normalized_path.as_deref(),
        _ => None,
    }
}

/// The request headers that the route sets.
fn way_headers(way: &Way) -> Vec<(String, String)> {
    let Some(Handling::Http(http)) = &way.handling else { return Vec::new() };
    let changes = http.route.iter().flat_map(|route| &route.request_headers);
    changes
        .filter(|change| change.operation == meltemi_walk::HeaderOperation::Set)
        .filter_map(|change| Some((change.name.clone(), change.value.clone()?)))
        .collect()
}
