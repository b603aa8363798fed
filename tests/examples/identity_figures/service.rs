//! Certificates per second through the real service: TLS, gRPC, proof of who asks, verified request, signature, answer.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meltemi_tests::storm::{Proof, Shape, Storm, tokens};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::bare::{Kind, cores};
use super::process::{Plane, cpu, resident};

/// Each stays within its own bound.
const ACCOUNTS: usize = 200;
const REQUESTS: u64 = 10_000;
const CONNECTIONS: usize = 16;
const AT_ONCE: usize = 16;

/// Prints the rates.
pub(crate) async fn rates(kinds: &[Kind]) -> Result<()> {
    println!(
        "certificates per second through the service ({CONNECTIONS} connections, {AT_ONCE} requests on each; who asks is on the same {} cores):",
        cores()
    );
    println!(
        "  {:<10} {:<22} {:>10} {:>14} {:>20} {:>7}",
        "key", "proof", "a second", "server CPU", "by that, all cores", "/ bare"
    );
    let plane = Plane::start().await?;
    let mut memory = vec![resident(plane.pid()?)?];
    let Some(first) = kinds.first() else { return Ok(()) };
    let by_token = kinds.iter().map(|kind| (kind, Proof::Token));
    for (kind, proof) in by_token.chain([(first, Proof::Certificate), (first, Proof::TokenAnew)]) {
        let before = cpu(plane.pid()?)?;
        let workloads = Workloads::start(&plane, &kind.request, proof, Some(REQUESTS), 0)?;
        let (answered, took) = workloads.done().await?;
        let each = (cpu(plane.pid()?)? - before).as_secs_f64() / answered;
        #[allow(clippy::cast_precision_loss, reason = "a count of cores")]
        let all = cores() as f64 / each;
        println!(
            "  {:<10} {:<22} {:>10.0} {:>11.0} µs {all:>20.0} {:>7.2}",
            kind.name,
            format!("{proof:?}"),
            answered / took.as_secs_f64(),
            each * 1e6,
            all / kind.bare
        );
        memory.push(resident(plane.pid()?)?);
    }
    let shown: Vec<String> = memory.iter().map(|memory| format!("{memory:.1}")).collect();
    println!("memory of the control plane, MB, before and after each 10,000: {}", shown.join(" "));
    Ok(())
}

/// This program again, as those who ask: a process of its own, with a priority of its own.
pub(crate) struct Workloads {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Workloads {
    pub(crate) fn start(
        plane: &Plane,
        csr: &str,
        proof: Proof,
        requests: Option<u64>,
        nice: u8,
    ) -> Result<Self> {
        let mut command = Command::new("nice");
        command.args(["-n", &nice.to_string()]).arg(std::env::current_exe()?).arg("storm");
        command.arg(plane.server.addresses().secure.to_string()).arg(plane.state.path()).arg(csr);
        command.arg(format!("{proof:?}")).arg(requests.unwrap_or(u64::MAX).to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting the workloads")?;
        let said = child.stdout.take().context("no output")?;
        Ok(Self { child, said: BufReader::new(said).lines() })
    }

    /// What it says next: how many were answered, and how long that took.
    pub(crate) async fn next(&mut self) -> Result<Option<(f64, Duration)>> {
        let Some(line) = self.said.next_line().await? else { return Ok(None) };
        let (answered, took) = line.split_once(' ').context("not two numbers")?;
        Ok(Some((answered.parse()?, Duration::from_secs_f64(took.parse()?))))
    }

    pub(crate) async fn done(mut self) -> Result<(f64, Duration)> {
        let mut last = None;
        while let Some(said) = self.next().await? {
            last = Some(said);
        }
        let status = self.child.wait().await?;
        if !status.success() {
            bail!("the workloads ended with {status}");
        }
        last.context("nothing was answered")
    }
}

/// The workloads themselves. Each thousand answers are told, and the last.
pub(crate) async fn workloads(arguments: &[String]) -> Result<()> {
    let [address, state, csr, proof, requests] = arguments else { bail!("five arguments") };
    let (address, state): (SocketAddr, &Path) = (address.parse()?, Path::new(state));
    let roots = std::fs::read_to_string(state.join("root-cert.pem"))?;
    let proof = [Proof::Token, Proof::TokenAnew, Proof::Certificate]
        .into_iter()
        .find(|one| format!("{one:?}") == *proof)
        .context("no such proof")?;
    let requests: u64 = requests.parse()?;
    let shape = Shape { connections: CONNECTIONS, at_once: AT_ONCE, requests: Some(requests), proof };
    let tokens = tokens(state, ACCOUNTS)?;
    let began = std::time::Instant::now();
    let mut storm = Storm::start(address, &roots, tokens, csr, &shape).await?;
    let mut out = std::io::stdout();
    let mut next = 0;
    while next + 1_000 <= requests {
        next += 1_000;
        storm.until(next, Duration::from_secs(600)).await?;
        writeln!(out, "{next} {}", began.elapsed().as_secs_f64())?;
        out.flush()?;
    }
    storm.done().await?;
    Ok(())
}
