//! A small mesh that can be edited at random: services, listeners with their routes, hosts that route to services. Always
//! whole: a host routes only to services that exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_catalog::{Body, Generation, Layer, Need, Resource};
use meltemi_names::{TypeUrl, Version};

pub(crate) const SERVICES: usize = 4;
pub(crate) const ROUTES: usize = 2;
pub(crate) const HOSTS: usize = 3;

/// How the resources of a mesh are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    DeltaHosts,
    DeltaRoutes,
    Sotw,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Service {
    pub(crate) version: u8,
    pub(crate) endpoints: u8,
    pub(crate) eds: bool,
    pub(crate) bad: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Host {
    pub(crate) version: u8,
    /// A bit for each service that it routes to.
    pub(crate) to: u8,
    pub(crate) bad: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Mesh {
    pub(crate) services: [Option<Service>; SERVICES],
    pub(crate) listeners: [u8; ROUTES],
    pub(crate) hosts: [[Option<Host>; HOSTS]; ROUTES],
}

#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Service(usize, Option<Service>),
    Endpoints(usize, u8),
    Listener(usize, u8),
    Host(usize, usize, Option<Host>),
}

impl Mesh {
    pub(crate) fn apply(&mut self, edit: &Edit) {
        match *edit {
            Edit::Service(at, service) => self.services[at] = service,
            Edit::Endpoints(at, endpoints) => {
                if let Some(service) = &mut self.services[at] {
                    service.endpoints = endpoints;
                }
            }
            Edit::Listener(at, version) => self.listeners[at] = version,
            Edit::Host(routes, at, host) => self.hosts[routes][at] = host,
        }
    }

    /// Nothing in it will be refused.
    #[allow(dead_code, reason = "the simulation refuses nothing")]
    pub(crate) fn mended(mut self) -> Self {
        self.services.iter_mut().flatten().for_each(|service| service.bad = false);
        self.hosts.iter_mut().flatten().flatten().for_each(|host| host.bad = false);
        self
    }

    pub(crate) fn resources(&self, spelling: Spelling) -> BTreeMap<(TypeUrl, String), Resource> {
        let mut all = BTreeMap::new();
        let mut add = |type_url: TypeUrl,
                       name: String,
                       body: String,
                       needs: &[(TypeUrl, String)],
                       parent: Option<String>| {
            let needs = needs
                .iter()
                .map(|(type_url, name)| Need { type_url: *type_url, name: name.as_str().into() })
                .collect();
            let version = Version::of(body.as_bytes());
            let body = Body::from(body.into_bytes());
            let mut resource = Resource::new(type_url, name.as_str().into(), version, body).needing(needs);
            if let Some(parent) = parent {
                resource = resource.belonging_to(parent.into());
            }
            all.insert((type_url, name), resource);
        };
        for (at, service) in self.services.iter().enumerate() {
            let Some(service) = service else { continue };
            let name = format!("c{at}");
            let bad = if service.bad { " bad" } else { "" };
            let v = service.version;
            if service.eds {
                let needs = [(TypeUrl::Endpoint, name.clone())];
                add(TypeUrl::Cluster, name.clone(), format!("n={name} v={v} eds={name}{bad}"), &needs, None);
                let body = format!("n={name} v={}", service.endpoints);
                add(TypeUrl::Endpoint, name, body, &[], None);
            } else {
                add(TypeUrl::Cluster, name.clone(), format!("n={name} v={v}{bad}"), &[], None);
            }
        }
        for (at, listener) in self.listeners.iter().enumerate() {
            if *listener == 0 {
                continue;
            }
            let routes = format!("r{at}");
            let name = format!("l{at}");
            let needs = [(TypeUrl::Route, routes.clone())];
            add(TypeUrl::Listener, name.clone(), format!("n={name} v={listener} rds={routes}"), &needs, None);
            let mut together = Vec::new();
            let mut text = String::new();
            for (host_at, host) in self.hosts[at].iter().enumerate() {
                let Some(host) = host else { continue };
                let clusters: Vec<String> = (0..SERVICES)
                    .filter(|service| host.to & (1 << service) != 0 && self.services[*service].is_some())
                    .map(|service| format!("c{service}"))
                    .collect();
                let needs: Vec<(TypeUrl, String)> =
                    clusters.iter().map(|name| (TypeUrl::Cluster, name.clone())).collect();
                let bad = if host.bad { " bad" } else { "" };
                let name = format!("{routes}/h{host_at}");
                let body = format!("n={name} v={} cds={}{bad}", host.version, clusters.join(","));
                if spelling == Spelling::DeltaHosts {
                    add(TypeUrl::VirtualHost, name, body, &needs, Some(routes.clone()));
                } else {
                    text.push_str(&format!(" {host_at}:{}{bad}", host.version));
                    together.extend(clusters);
                }
            }
            let needs: Vec<(TypeUrl, String)> =
                together.iter().map(|name| (TypeUrl::Cluster, name.clone())).collect();
            let body = format!("n={routes}{text} cds={}", together.join(","));
            add(TypeUrl::Route, routes, body, &needs, None);
        }
        all
    }
}

/// The layer that holds `after`, following the one that holds `before`.
pub(crate) fn successor(layer: &Layer, before: &Mesh, after: &Mesh, spelling: Spelling) -> Layer {
    let before = before.resources(spelling);
    let after = after.resources(spelling);
    let mut edit = layer.edit(Generation(layer.generation().0 + 1));
    for (type_url, name) in before.keys().filter(|key| !after.contains_key(key)) {
        edit.remove(*type_url, name);
    }
    for resource in after.into_values() {
        edit.put(Arc::new(resource));
    }
    edit.finish().unwrap_or_else(|| layer.clone())
}

/// What a client should hold of one type.
pub(crate) fn expected(mesh: &Mesh, spelling: Spelling, type_url: TypeUrl) -> BTreeMap<String, String> {
    mesh.resources(spelling)
        .into_iter()
        .filter(|((kind, _), _)| *kind == type_url)
        .map(|((_, name), resource)| (name, String::from_utf8_lossy(&resource.body().to_vec()).into_owned()))
        .collect()
}
