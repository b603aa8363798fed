//! What translation, `meltemi explain` and `meltemi diff` cost by the size of the mesh. Prints figures, judges nothing.
//!
//! `cargo build --release -p meltemi-cli`, then with the program in `MELTEMI_BIN`:
//! `cargo run --release -p meltemi-views --example whatif_figures [SERVICES ...]`. A quiet machine, half a minute.

#![allow(clippy::print_stdout, reason = "an example prints what it is for")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meltemi_model::Event;
use meltemi_model::proxy::Proxy;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_views::{Engine, Options};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut sizes = Vec::new();
    for argument in std::env::args().skip(1) {
        sizes.push(argument.parse::<usize>()?);
    }
    if sizes.is_empty() {
        sizes = vec![1_000, 10_000];
    }
    for services in sizes {
        for namespaces in [1, 20] {
            mesh(services, namespaces)?;
        }
    }
    Ok(())
}

/// One mesh: two workloads for each service, a rule with two subsets, and a route between them.
fn mesh(services: usize, namespaces: usize) -> Result<()> {
    let texts: Vec<String> = (0..services).map(|index| service(index, index % namespaces)).collect();
    println!("{services} services in {namespaces} namespaces: {} objects", 5 * services);
    let began = Instant::now();
    let mut events = Vec::new();
    for text in &texts {
        events.extend(read(text)?);
    }
    told("  read from YAML", began.elapsed());
    let mut engine = Engine::new(Options { findings: false, ..Options::default() });
    let began = Instant::now();
    engine.apply(events);
    told("  indexed", began.elapsed());
    let node =
        Node { id: "sidecar~10.0.0.1~client.team-0~team-0.svc.cluster.local".to_owned(), ..Node::default() };
    let proxy = Arc::new(Proxy { takes_virtual_hosts: true, ..Proxy::parse(&node, true)? });
    let began = Instant::now();
    let id = engine.connect(proxy);
    told("  first view of a sidecar", began.elapsed());
    let view = engine.view(id);
    let count = |type_url| view.all(type_url).count();
    println!(
        "    {} clusters, {} assignments, {} virtual hosts",
        count(TypeUrl::Cluster),
        count(TypeUrl::Endpoint),
        count(TypeUrl::VirtualHost)
    );
    let began = Instant::now();
    engine.apply(read(&route(0, 0, 25))?);
    told("  one weight more", began.elapsed());

    let Some(program) = std::env::var_os("MELTEMI_BIN").map(PathBuf::from) else {
        println!("  explain and diff: NOT RUN, MELTEMI_BIN names no program");
        return Ok(());
    };
    let folder = std::env::temp_dir().join(format!("meltemi-whatif-{}", std::process::id()));
    let (base, change) = (folder.join("base"), folder.join("change"));
    std::fs::create_dir_all(&base)?;
    std::fs::create_dir_all(&change)?;
    for (index, chunk) in texts.chunks(100).enumerate() {
        std::fs::write(base.join(format!("{index}.yaml")), chunk.concat())?;
    }
    std::fs::write(change.join("route.yaml"), route(0, 0, 25))?;
    let base = base.as_path();
    let explain = ["--from", "client.team-0", "GET", "http://s0.team-0/"].map(Path::new);
    run("  meltemi explain, all of it", &program, "explain", base, &explain)?;
    run("  meltemi diff, all of it", &program, "diff", base, &[Path::new("--with"), &change])?;
    run("  meltemi analyze, all of it", &program, "analyze", base, &[])?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// The best of three runs: the others wait for the machine.
fn run(what: &str, program: &Path, command: &str, base: &Path, more: &[&Path]) -> Result<()> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        let ended = Command::new(program).arg(command).arg("--config").arg(base).args(more).output()?;
        if !ended.status.success() {
            return Err(String::from_utf8_lossy(&ended.stderr).into_owned().into());
        }
        best = best.min(began.elapsed());
    }
    told(what, best);
    Ok(())
}

fn told(what: &str, time: Duration) {
    println!("{what:<28} {:>8.1} ms", time.as_secs_f64() * 1e3);
}

fn read(text: &str) -> Result<Vec<Event>> {
    let objects = meltemi_api::parse_all(text)
        .map_err(|findings| findings.first().map(ToString::to_string).unwrap_or_default())?;
    Ok(objects.into_iter().map(|object| Event::Upsert(Arc::new(object))).collect())
}

fn service(index: usize, namespace: usize) -> String {
    let (high, low) = (index / 200, index % 200);
    let meta = |name: &str| format!("{{name: {name}, namespace: team-{namespace}}}");
    let name = format!("s{index}");
    let mut text = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {}\nspec:\n  clusterIP: 10.{}.{low}.1\n  selector: {{app: {name}}}\n  ports: [{{name: http, port: 80, targetPort: 8080}}]\n",
        meta(&name),
        100 + high
    );
    let _ = write!(
        text,
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {}\nspec:\n  host: {name}\n  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]\n",
        meta(&name)
    );
    for version in ["v1", "v2"] {
        let own = format!("{name}-{version}");
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {}\nspec: {{address: 10.{high}.{low}.{}, labels: {{app: {name}, version: {version}}}, serviceAccount: {name}}}\n",
            meta(&own),
            &version[1..]
        );
    }
    text + &route(index, namespace, 10)
}

fn route(index: usize, namespace: usize, weight: u32) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: s{index}, namespace: team-{namespace}}}\nspec:\n  hosts: [s{index}]\n  http:\n  - route:\n    - {{destination: {{host: s{index}, subset: v1}}, weight: {}}}\n    - {{destination: {{host: s{index}, subset: v2}}, weight: {weight}}}\n",
        100 - weight
    )
}
