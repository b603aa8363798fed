//! A folder of YAML: N services with two pods, a DestinationRule with two subsets and a VirtualService each, and what stands beside them.
//!
//! Knows: Istio's and Kubernetes' YAML, as a user writes it. Must not know: what is made of it.
//! Invariant: a change is one file replaced at once, as an editor's or a controller's atomic rename does it.

mod rules;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::node::Pod;

/// What a mesh is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Services, spread evenly over the namespaces.
    pub services: usize,
    /// Namespaces.
    pub namespaces: usize,
    /// How the endpoints are written.
    pub endpoints: Endpoints,
    /// The port of every service.
    pub port: u16,
    /// What stands beside the services and their routing.
    pub beside: Beside,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            services: 1000,
            namespaces: 10,
            endpoints: Endpoints::Slices,
            port: 80,
            beside: Beside::Nothing,
        }
    }
}

/// What stands beside the services and their routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A Sidecar for each namespace, which imports it and two services of another one.
    Scopes,
    /// Limits and outlier detection for each service, EnvoyFilters for each namespace and for the mesh, a Telemetry, a
    /// PeerAuthentication.
    Policies,
}

/// How endpoints are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoints {
    /// Pods and an EndpointSlice, as Kubernetes has them.
    Slices,
    /// A WorkloadEntry for each, as people write them by hand.
    WorkloadEntries,
}

/// A mesh in a folder.
#[derive(Clone, Debug)]
pub struct Mesh {
    shape: Shape,
    folder: PathBuf,
    /// On the same file system, where no server looks: a file is finished here and renamed into the folder.
    staging: PathBuf,
}

/// The two versions of every service.
pub(crate) const VERSIONS: [&str; 2] = ["v1", "v2"];

/// Files of one mesh that change without anybody reading what changed in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrelated {
    /// A ConfigMap and a Deployment of the user's own.
    Application,
    /// A label of a pod that no selector names.
    PodLabel,
}

impl Mesh {
    /// Writes the mesh into `folder`, which is made. `staging` must be on the same file system, and not within it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(folder: &Path, staging: &Path, shape: Shape) -> Result<Self> {
        let mesh = Self::open(folder, staging, shape)?;
        for number in 0..shape.services {
            mesh.put(&mesh.file("services", number), &yaml::service(&mesh, number, 0))?;
            mesh.put(&mesh.file("routing", number), &yaml::virtual_service(&mesh, number, 90))?;
        }
        let of_namespaces = (0..shape.namespaces).filter_map(|number| match shape.beside {
            Beside::Nothing => None,
            Beside::Scopes => Some((number, rules::scope(&mesh, number))),
            Beside::Policies => Some((number, rules::patches(number))),
        });
        for (number, text) in of_namespaces {
            mesh.put(&folder.join("routing").join(team(number)).join("namespace.yaml"), &text)?;
        }
        if shape.beside == Beside::Policies {
            mesh.put(&folder.join("routing/mesh.yaml"), rules::MESH)?;
        }
        Ok(mesh)
    }

    /// A mesh that was written before.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn open(folder: &Path, staging: &Path, shape: Shape) -> Result<Self> {
        let mesh = Self { shape, folder: folder.to_owned(), staging: staging.to_owned() };
        std::fs::create_dir_all(staging).with_context(|| format!("making {}", staging.display()))?;
        for number in 0..shape.namespaces {
            for part in ["services", "routing"] {
                let folder = folder.join(part).join(team(number));
                std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            }
        }
        Ok(mesh)
    }

    /// A mesh that is nowhere written, for the names of its pods.
    pub fn named(shape: Shape) -> Self {
        Self { shape, folder: PathBuf::new(), staging: PathBuf::new() }
    }

    /// What it is made of.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives the first version of a service this share of its requests, in percent.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn weigh(&self, service: usize, percent: usize) -> Result<()> {
        self.put(&self.file("routing", service), &yaml::virtual_service(self, service, percent))
    }

    /// Takes the second pod of a service out of its endpoints, or in again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn drain(&self, service: usize, is_out: bool) -> Result<()> {
        let text = yaml::service(self, service, 0);
        let text = if is_out { yaml::without_last_endpoint(&text) } else { text };
        self.put(&self.file("services", service), &text)
    }

    /// Replaces the pods of a service one by one, as a rollout does: each odd `turn` adds a pod, the next one takes away the pod that
    /// it replaces. Turn 0 is the mesh as it was written.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn roll(&self, service: usize, turn: usize) -> Result<()> {
        self.put(
            &self.file("services", service),
            &yaml::service_of(self, service, 0, &self.rolled(service, turn)),
        )
    }

    /// The pods of a service after so many turns of [`Mesh::roll`].
    fn rolled(&self, service: usize, turn: usize) -> Vec<Pod> {
        let (done, turn) = (turn / (2 * VERSIONS.len()), turn % (2 * VERSIONS.len()));
        let mut pods = Vec::new();
        for version in 0..VERSIONS.len() {
            // The new pod of this version comes in the turn before the one in which the old one goes.
            let comes = 2 * version + 1;
            if turn <= comes {
                pods.push(self.pod_of(service, version, done));
            }
            if turn >= comes {
                pods.push(self.pod_of(service, version, done + 1));
            }
        }
        pods
    }

    /// Writes a file of the user's own beside the mesh, or writes it anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, name: &str, text: &str) -> Result<()> {
        self.put(&self.folder.join(name), text)
    }

    /// Whether the sidecar of a pod is to know of that service.
    pub fn sees(&self, pod: &Pod, service: usize) -> bool {
        self.shape.beside != Beside::Scopes
            || pod.namespace == self.namespace(service)
            || (0..self.shape.namespaces)
                .any(|number| pod.namespace == team(number) && self.imports(number).any(|of| of == service))
    }

    /// The services of another namespace that a namespace with a Sidecar imports.
    fn imports(&self, namespace: usize) -> impl Iterator<Item = usize> {
        let Shape { services, namespaces, .. } = self.shape;
        let other = (namespace + 1) % namespaces;
        [other, other + namespaces].into_iter().filter(move |service| *service < services)
    }

    /// Gives the first version of every service this share, all in one file; the first time, the files of each are removed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn weigh_all(&self, percent: usize) -> Result<()> {
        let all: Vec<String> =
            (0..self.shape.services).map(|service| yaml::virtual_service(self, service, percent)).collect();
        for service in 0..self.shape.services {
            let file = self.file("routing", service);
            if file.exists() {
                std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
            }
        }
        self.put(&self.folder.join("routing/all.yaml"), &all.join("---\n"))
    }

    /// The host of a service, whole.
    pub fn host(&self, service: usize) -> String {
        format!("{}.{}.svc.cluster.local", name(service), self.namespace(service))
    }

    /// The folder in which [`Unrelated::Application`] is.
    pub fn applications(&self) -> PathBuf {
        self.folder.join("services")
    }

    /// Changes what nobody reads; `number` makes it another change each time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn disturb(&self, what: Unrelated, number: usize) -> Result<()> {
        match what {
            Unrelated::Application => {
                self.put(&self.applications().join("application.yaml"), &yaml::application(number))
            }
            Unrelated::PodLabel => self.put(&self.file("services", 0), &yaml::service(self, 0, number)),
        }
    }

    /// The pods that the sidecars run beside: first those of the services, then as many more that no service has.
    pub fn pods(&self) -> impl Iterator<Item = Pod> + '_ {
        let of_services =
            (0..self.shape.services).flat_map(|service| [self.pod(service, 0), self.pod(service, 1)]);
        let others = (0..).map(|number| Pod {
            name: format!("batch-{number}"),
            namespace: team(number % self.shape.namespaces),
            ip: address(127, number),
            labels: BTreeMap::from([("app".to_owned(), "batch".to_owned())]),
        });
        of_services.chain(others)
    }

    fn pod(&self, service: usize, version: usize) -> Pod {
        self.pod_of(service, version, 0)
    }

    /// The pod that replaces the first one after so many rollouts.
    fn pod_of(&self, service: usize, version: usize, rollout: usize) -> Pod {
        let (app, version_name) = (name(service), VERSIONS[version]);
        let number = service * VERSIONS.len() + version;
        let (name, ip) = match rollout {
            0 => (format!("{app}-{version_name}"), address(64, number)),
            // An address may come again when its pod is long gone.
            _ => (format!("{app}-{version_name}-{rollout}"), address(160 + rollout % 32, number)),
        };
        Pod {
            name,
            namespace: self.namespace(service),
            ip,
            labels: BTreeMap::from([
                ("app".to_owned(), app),
                ("version".to_owned(), version_name.to_owned()),
            ]),
        }
    }

    pub(crate) fn namespace(&self, service: usize) -> String {
        team(service % self.shape.namespaces)
    }

    fn file(&self, part: &str, service: usize) -> PathBuf {
        self.folder.join(part).join(self.namespace(service)).join(format!("{}.yaml", name(service)))
    }

    fn put(&self, file: &Path, text: &str) -> Result<()> {
        let staged = self.staging.join("next.yaml");
        std::fs::write(&staged, text).with_context(|| format!("writing {}", staged.display()))?;
        std::fs::rename(&staged, file).with_context(|| format!("renaming into {}", file.display()))
    }
}

/// The name of a service.
pub(crate) fn name(service: usize) -> String {
    format!("service-{service:05}")
}

/// The name of a namespace.
fn team(number: usize) -> String {
    format!("team-{number}")
}

/// The address of pod `number` of those that begin at `10.<block>`; 62,500 of them until the next block.
fn address(block: usize, number: usize) -> String {
    let (high, low) = (number / 250, number % 250 + 1);
    format!("10.{}.{}.{low}", block + high / 250, high % 250)
}

#[cfg(test)]
mod tests;
