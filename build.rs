//! Compiles the wire messages. `crates/proto` points at this file (`build = "../../build.rs"`).
//!
//! Envoy's own `.proto` files come with the crate `envoy-types`, which is pinned by Cargo.lock and never compiled
//! (it is listed under a `cfg` that is never true). Its ready Rust keeps Protobuf maps in `HashMap`, so that one value
//! encodes differently from run to run; here they become `BTreeMap`, and the same input gives the same bytes.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What Meltemi reads or writes as typed messages; everything these import comes along. Of all others of Envoy there are descriptors
/// only: what an `EnvoyFilter` may say, and what a config dump may hold.
const ROOTS: &[&str] = &[
    "envoy/admin/v3/clusters.proto",
    "envoy/admin/v3/config_dump.proto",
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/config/trace/v3/datadog.proto",
    "envoy/config/trace/v3/opentelemetry.proto",
    "envoy/config/trace/v3/skywalking.proto",
    "envoy/config/trace/v3/zipkin.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/filters/cel/v3/cel.proto",
    "envoy/extensions/access_loggers/grpc/v3/als.proto",
    "envoy/extensions/access_loggers/open_telemetry/v3/logs_service.proto",
    "envoy/extensions/access_loggers/stats/v3/stats.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/clusters/dns/v3/dns_cluster.proto",
    "envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_stats/v3/config.proto",
    "envoy/extensions/filters/http/grpc_web/v3/grpc_web.proto",
    "envoy/extensions/filters/http/health_check/v3/health_check.proto",
    "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
    "envoy/extensions/filters/http/lua/v3/lua.proto",
    "envoy/extensions/filters/http/on_demand/v3/on_demand.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/http/stateful_session/v3/stateful_session.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/set_filter_state/v3/set_filter_state.proto",
    "envoy/extensions/filters/network/sni_cluster/v3/sni_cluster.proto",
    "envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3/sni_dynamic_forward_proxy.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/formatter/metadata/v3/metadata.proto",
    "envoy/extensions/formatter/req_without_query/v3/req_without_query.proto",
    "envoy/extensions/http/stateful_session/cookie/v3/cookie.proto",
    "envoy/extensions/http/stateful_session/header/v3/header.proto",
    "envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.proto",
    "envoy/extensions/load_balancing_policies/cluster_provided/v3/cluster_provided.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/maglev/v3/maglev.proto",
    "envoy/extensions/load_balancing_policies/random/v3/random.proto",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.proto",
    "envoy/extensions/request_id/uuid/v3/uuid.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto",
    "envoy/extensions/tracers/opentelemetry/resource_detectors/v3/dynatrace_resource_detector.proto",
    "envoy/extensions/tracers/opentelemetry/resource_detectors/v3/environment_resource_detector.proto",
    "envoy/extensions/tracers/opentelemetry/samplers/v3/dynatrace_sampler.proto",
    "envoy/extensions/transport_sockets/http_11_proxy/v3/upstream_http_11_connect.proto",
    "envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream.proto",
    "envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/secret/v3/sds.proto",
    "envoy/service/status/v3/csds.proto",
    "istio/networking/nds/v1/nds.proto",
    "istio/v1/auth/ca.proto",
    "meltemi/envelope.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest.join("../..").canonicalize()?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={}", root.join("build.rs").display());
    println!("cargo:rerun-if-changed={}", root.join("proto").display());
    // Pins envoy-types exactly; watching Cargo.lock would compile 25,000 lines again for every other crate's sake.
    println!("cargo:rerun-if-changed={}", manifest.join("Cargo.toml").display());

    let envoy = envoy_protos(&manifest)?;
    let mut includes = vec![root.join("proto"), mended(&envoy, &out)?];
    includes.extend(
        [
            "data-plane-api",
            "xds",
            "protoc-gen-validate",
            "googleapis",
            "client_model",
            "cel-spec/proto",
            "opentelemetry-proto",
            "ratelimit",
        ]
        .map(|folder| envoy.join(folder)),
    );
    let descriptors = protox::compile(ROOTS, &includes)?;
    let mut all = every_proto(&envoy.join("data-plane-api"))?;
    all.extend(ROOTS.iter().map(PathBuf::from));
    let everything = protox::compile(all, &includes)?;
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&everything))?;

    prost_build::Config::new()
        // The same value must always encode to the same bytes.
        .btree_map(["."])
        .bytes([".google.protobuf.Any", ".meltemi"])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .disable_comments(["."])
        .compile_well_known_types()
        .extern_path(".google.protobuf.Timestamp", "::prost_types::Timestamp")
        .extern_path(".google.protobuf.Duration", "::prost_types::Duration")
        .extern_path(".google.protobuf.FileDescriptorSet", "::prost_types::FileDescriptorSet")
        .extern_path(".google.protobuf.FileDescriptorProto", "::prost_types::FileDescriptorProto")
        .include_file("packages.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

/// A copy of Envoy's messages in which every relative name of a message in another package is written in full; to be looked into
/// first. protoc goes on looking where the first word of such a name is a package that has no more of it; protox does not.
fn mended(envoy: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let (source, folder) = (envoy.join("data-plane-api"), out.join("mended"));
    let mut texts = Vec::new();
    for name in every_proto(&source)? {
        texts.push((name.clone(), std::fs::read_to_string(source.join(name))?));
    }
    let package_of = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("package "))?;
        Some(line.trim_end_matches(';').to_owned())
    };
    let packages: BTreeSet<String> = texts.iter().filter_map(|(_, text)| package_of(text)).collect();
    for (name, text) in &texts {
        let own = package_of(text).ok_or_else(|| format!("{} has no package", name.display()))?;
        let lines = text.lines().map(|line| {
            let is_field = line.starts_with("  ") && !line.contains("//") && !line.contains('"');
            if is_field { in_full(line, &own, &packages) } else { line.to_owned() }
        });
        let file = folder.join(name);
        std::fs::create_dir_all(file.with_file_name(""))?;
        std::fs::write(file, lines.collect::<Vec<_>>().join("\n"))?;
    }
    Ok(folder)
}

/// The line with each `a.b.Message` whose `a.b` is a package under one of the scopes of `own` written in full.
fn in_full(line: &str, own: &str, packages: &BTreeSet<String>) -> String {
    let mut full = String::new();
    for word in line.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_')) {
        let end = word.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_')).unwrap_or(word.len());
        // Of `a.b.Message.Inner` the package is what comes before the first capital.
        let capital = word.find(|c: char| c.is_uppercase()).unwrap_or(0);
        let package =
            word[..capital].strip_suffix('.').filter(|package| !package.starts_with('.') && end > capital);
        let scopes = std::iter::successors(Some(own), |scope| scope.rsplit_once('.').map(|(outer, _)| outer));
        let found = package.and_then(|package| {
            scopes.map(|scope| format!("{scope}.{package}")).find(|candidate| packages.contains(candidate))
        });
        if let Some(found) = found {
            full += &format!(".{found}{}", &word[capital - 1..]);
        } else {
            full += word;
        }
    }
    full
}

/// All of Envoy's own messages, sorted.
fn every_proto(folder: &Path) -> Result<BTreeSet<PathBuf>, Box<dyn Error>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.join("envoy")];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                found.insert(path.strip_prefix(folder)?.to_owned());
            }
        }
    }
    Ok(found)
}

/// The `proto/` folder of the pinned `envoy-types`, as cargo itself locates it.
fn envoy_protos(manifest: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var("CARGO")?;
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(manifest.join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest_path = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("Cargo.lock pins no envoy-types, whose .proto files are compiled here")?;
    Ok(Path::new(manifest_path).with_file_name("proto"))
}
