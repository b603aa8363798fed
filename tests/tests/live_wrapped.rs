//! What connections are wrapped in, as the other side sees it: a PROXY protocol header, a tunnel that a forward proxy opens.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use meltemi_tests::live::{Form, World, free_port, rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long the other side may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Reads until what was read is `enough`.
async fn read_until(stream: &mut TcpStream, enough: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
    let mut read = Vec::new();
    while !enough(&read) {
        let count = stream.read_buf(&mut read).await?;
        ensure!(count > 0, "it ended after {:?}", String::from_utf8_lossy(&read));
    }
    Ok(read)
}

/// A server of one port that shows what each connection begins with, and answers `answer`.
async fn server(answer: &'static [u8], echo: bool) -> Result<(SocketAddr, mpsc::Receiver<Vec<u8>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let is_head = |read: &[u8]| {
                    let text = String::from_utf8_lossy(read);
                    text.contains(" HTTP/1.1\r\n") && text.ends_with("\r\n\r\n")
                };
                let head = read_until(&mut stream, is_head).await?;
                stream.write_all(answer).await?;
                _ = sender.send(head).await;
                if echo {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await?;
                }
                anyhow::Ok(())
            });
        }
    });
    Ok((address, receiver))
}

/// A service `name` of one port, and its endpoint at `address`.
fn service(name: &str, protocol: &str, port: u16, address: SocketAddr) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{selector: {{app: {name}}}, ports: [{{name: {protocol}, port: {port}}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: default}}
spec: {{address: {}, ports: {{{protocol}: {}}}, labels: {{app: {name}}}}}
",
        address.ip(),
        address.port()
    )
}

#[tokio::test]
async fn a_server_learns_who_calls_by_the_proxy_protocol() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (address, mut heads) = server(answer, false).await?;
    world.write("myapp.yaml", &service("myapp", "http", world.port(), address))?;
    world.write("rule.yaml", &rule("myapp", &[], "{proxyProtocol: {version: V1}}"))?;
    world.start().await?;
    let mut ask = async |world: &World| -> Result<(u16, Vec<u8>)> {
        let mut client = TcpStream::connect(world.address()).await?;
        let port = client.local_addr()?.port();
        client.write_all(b"GET / HTTP/1.1\r\nhost: myapp\r\n\r\n").await?;
        let answer = read_until(&mut client, |read| read.ends_with(b"\r\n\r\n"));
        let answer = String::from_utf8(timeout(LIMIT, answer).await??)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let head = timeout(LIMIT, heads.recv()).await?.context("the server has ended")?;
        Ok((port, head))
    };
    let (port, head) = ask(&world).await?;
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}\r\nGET / HTTP/1.1\r\n", world.port());
    ensure!(head.starts_with(expected.as_bytes()), "{:?}, not {expected:?}", String::from_utf8_lossy(&head));

    world.save("rule.yaml", &rule("myapp", &[], "{proxyProtocol: {version: V2}}")).await?;
    let (port, head) = ask(&world).await?;
    let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    expected.extend(port.to_be_bytes());
    expected.extend(world.port().to_be_bytes());
    expected.extend(b"GET / HTTP/1.1\r\n");
    ensure!(head.starts_with(&expected), "{head:x?}, not {expected:x?}");
    world.end().await
}

#[tokio::test]
async fn a_connection_leaves_by_a_tunnel_that_a_forward_proxy_opens() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let (address, mut heads) = server(b"HTTP/1.1 200 OK\r\n\r\n", true).await?;
    let port = free_port()?;
    world.write("proxy.yaml", &service("proxy", "tcp", port, address))?;
    let tunnel = "{tunnel: {protocol: CONNECT, targetHost: outside.example, targetPort: 443}}";
    world.write("rule.yaml", &rule("proxy", &[], tunnel))?;
    world.start().await?;
    let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
    client.write_all(b"over there").await?;
    let head = timeout(LIMIT, heads.recv()).await?.context("the proxy has ended")?;
    let head = String::from_utf8(head)?;
    ensure!(head.starts_with("CONNECT outside.example:443 HTTP/1.1\r\n"), "{head}");
    let back = timeout(LIMIT, read_until(&mut client, |read| read.len() >= 10)).await??;
    if back != b"over there" {
        bail!("{:?} came back through the tunnel", String::from_utf8_lossy(&back));
    }
    world.end().await
}
