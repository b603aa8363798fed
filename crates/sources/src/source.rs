//! One stream of batches from whatever was given: a folder, a cluster, or both.

use crate::batch::Batch;
use crate::file::FolderSource;
use crate::join::{Join, Side};
use crate::kube::KubeSource;

/// Where objects come from.
#[derive(Debug)]
pub struct Source(From);

#[derive(Debug)]
enum From {
    Folder(Box<Folder>),
    Cluster(Box<KubeSource>),
    Both(Box<Both>),
    Nothing,
}

#[derive(Debug)]
struct Both {
    folder: Option<Folder>,
    cluster: Option<KubeSource>,
    join: Join,
}

#[derive(Debug)]
struct Folder {
    first: Option<Batch>,
    source: FolderSource,
}

impl Source {
    /// Of a folder that was read (as [`FolderSource::start`] answers), of a cluster, or of both. An object that both have is the folder's.
    pub fn new(folder: Option<(Batch, FolderSource)>, cluster: Option<KubeSource>) -> Self {
        let folder = folder.map(|(first, source)| Folder { first: Some(first), source });
        Self(match (folder, cluster) {
            (Some(folder), None) => From::Folder(Box::new(folder)),
            (None, Some(cluster)) => From::Cluster(Box::new(cluster)),
            (None, None) => From::Nothing,
            (folder, cluster) => From::Both(Box::new(Both { folder, cluster, join: Join::default() })),
        })
    }

    /// The next change; the first one is everything there is. None when nothing can be followed any more: what was told stays true.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Batch> {
        match &mut self.0 {
            From::Folder(folder) => folder.next().await,
            From::Cluster(cluster) => cluster.next().await,
            From::Both(both) => both.next().await,
            From::Nothing => None,
        }
    }
}

impl Both {
    async fn next(&mut self) -> Option<Batch> {
        loop {
            // One that ended leaves in force what it said; the other one goes on.
            let (side, batch) = tokio::select! {
                Some(batch) = next(&mut self.folder, Folder::next) => (Side::Folder, batch),
                Some(batch) = next(&mut self.cluster, KubeSource::next) => (Side::Cluster, batch),
                else => return None,
            };
            if let Some(batch) = self.join.on(side, batch) {
                return Some(batch);
            }
        }
    }
}

async fn next<T>(source: &mut Option<T>, next: impl AsyncFnOnce(&mut T) -> Option<Batch>) -> Option<Batch> {
    let batch = next(source.as_mut()?).await;
    if batch.is_none() {
        *source = None;
    }
    batch
}

impl Folder {
    async fn next(&mut self) -> Option<Batch> {
        match self.first.take() {
            Some(first) => Some(first),
            None => self.source.next().await,
        }
    }
}
