//! One address in front of replicas that come and go, as a Service's address is: each connection goes to the first replica that takes it.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The address. Dropping it closes it.
pub struct Door {
    address: SocketAddr,
    replicas: watch::Sender<Vec<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Door {
    /// A free port of 127.0.0.1, with nobody behind it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (replicas, behind) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let replicas = behind.borrow().clone();
                tokio::spawn(pass(stream, replicas));
            }
        });
        Ok(Self { address, replicas, task })
    }

    /// From now on new connections go to these, the first one first.
    pub fn lead_to(&self, replicas: &[SocketAddr]) {
        self.replicas.send_replace(replicas.to_vec());
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut stream: TcpStream, replicas: Vec<SocketAddr>) {
    for replica in replicas {
        if let Ok(mut behind) = TcpStream::connect(replica).await {
            // One side breaks it off: so does the other.
            drop(behind.set_nodelay(true).and(stream.set_nodelay(true)));
            drop(copy_bidirectional(&mut stream, &mut behind).await);
            return;
        }
    }
}
