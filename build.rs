//! Compiles the wire messages. `crates/proto` points at this file (`build = "../../build.rs"`).
//!
//! Envoy's own `.proto` files come with the crate `envoy-types`, which is pinned by Cargo.lock and never compiled
//! (it is listed under a `cfg` that is never true). Its ready Rust keeps Protobuf maps in `HashMap`, so that one value
//! encodes differently from run to run; here they become `BTreeMap`, and the same input gives the same bytes.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What Meltemi reads or writes; everything these import comes along.
const ROOTS: &[&str] = &[
    "envoy/admin/v3/config_dump.proto",
    "envoy/admin/v3/clusters.proto",
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/stats/v3/stats.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_stats/v3/config.proto",
    "envoy/extensions/filters/http/grpc_web/v3/grpc_web.proto",
    "envoy/extensions/filters/http/on_demand/v3/on_demand.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/set_filter_state/v3/set_filter_state.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/request_id/uuid/v3/uuid.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/secret/v3/sds.proto",
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
    let mut includes = vec![root.join("proto")];
    includes.extend(
        [
            "data-plane-api",
            "xds",
            "protoc-gen-validate",
            "googleapis",
            "client_model",
            "cel-spec",
            "opentelemetry-proto",
        ]
        .map(|folder| envoy.join(folder)),
    );
    let descriptors = protox::compile(ROOTS, &includes)?;
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;

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
