//! Meshes and requests by recipe: VirtualServices with every kind of condition and action, and requests that meet some of them.

/// The services; `lonely` beside them has no workload.
pub(crate) const SERVICES: [&str; 4] = ["cart", "shop", "pay", "mail"];
/// Each service's versions; subset `v9` beside them is of none.
pub(crate) const VERSIONS: [&str; 2] = ["v1", "v2"];
/// Hosts that only VirtualServices know.
const HOSTS: [&str; 12] = [
    "a.example",
    "b.example",
    "c.example",
    "d.example",
    "e.example",
    "f.example",
    "*.wild.example",
    "*.deep.wild.example",
    "g.example",
    "h.example",
    "i.example",
    "j.example",
];

/// Numbers that look random, the same from the same seed (Marsaglia's xorshift64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % bound
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// The mesh as YAML; every service and every host is at port 80, where hosts that no service has are served, too.
pub(crate) fn mesh(random: &mut Random, apps: &super::Apps) -> String {
    let mut yaml = String::new();
    for service in SERVICES.iter().chain(&["lonely"]) {
        yaml += &format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: {service}, namespace: default}}
spec: {{selector: {{app: {service}}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {service}, namespace: default}}
spec:
  host: {service}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
  - {{name: v9, labels: {{version: v9}}}}
"
        );
    }
    for (address, (name, version)) in apps {
        let (ip, own) = address.rsplit_once(':').unwrap_or_default();
        yaml += &format!(
            "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}-{version}, namespace: default}}
spec: {{address: {ip}, ports: {{http: {own}}}, labels: {{app: {name}, version: {version}}}}}
"
        );
    }
    // One service keeps its default route.
    for (index, host) in HOSTS.iter().chain(&SERVICES[1..]).enumerate() {
        yaml += &format!(
            "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: rules-{index}, namespace: default}}
spec:
  hosts: ['{host}']
  http:
"
        );
        for rule in 0..1 + random.below(5) {
            yaml += &format!("  - name: rule-{rule}\n{}{}", matches(random), action(random));
        }
        if random.one_in(2) {
            yaml += &format!("  - name: rest\n{}", action(random));
        }
    }
    yaml
}

fn matches(random: &mut Random) -> String {
    let mut text = "    match:\n".to_owned();
    for _ in 0..1 + random.below(2) {
        let mut parts = Vec::new();
        if random.one_in(2) {
            parts.push(uri(random));
        }
        if random.one_in(3) {
            let (key, value) =
                (random.of(&["x-user", "x-kind"]), condition(random, &["ann", "bob", "an", "x"]));
            parts.push(format!("headers: {{{key}: {value}}}"));
        }
        if random.one_in(5) {
            let (key, value) = (random.of(&["x-user", "x-kind"]), condition(random, &["ann", "bob"]));
            parts.push(format!("withoutHeaders: {{{key}: {value}}}"));
        }
        if random.one_in(5) {
            let value = random.of(&["exact: '1'", "regex: '[0-9]+'", "prefix: '1'"]);
            parts.push(format!("queryParams: {{q: {{{value}}}}}"));
        }
        if random.one_in(5) {
            parts.push(format!("method: {}", random.of(&["{exact: GET}", "{regex: 'P.*'}", "{prefix: P}"])));
        }
        if random.one_in(8) {
            parts.push(format!("authority: {}", random.of(&["{prefix: a}", "{regex: '.*example'}"])));
        }
        if parts.is_empty() {
            parts.push("uri: {prefix: /never}".to_owned());
        }
        text += &format!("    - {{{}}}\n", parts.join(", "));
    }
    text
}

fn uri(random: &mut Random) -> String {
    let uri = random.of(&[
        "{exact: /a}",
        "{exact: /a/b}",
        "{prefix: /a}",
        "{prefix: /a/}",
        "{prefix: /b}",
        "{regex: '/[ab]/.*'}",
        "{regex: '/c'}",
        "{prefix: /}",
    ]);
    let case = if random.one_in(4) { ", ignoreUriCase: true" } else { "" };
    format!("uri: {uri}{case}")
}

fn condition(random: &mut Random, values: &[&str]) -> String {
    let value = random.of(values);
    match random.below(4) {
        0 => format!("{{exact: {value}}}"),
        1 => format!("{{prefix: {value}}}"),
        2 => format!("{{regex: '{value}.*'}}"),
        _ => "{}".to_owned(),
    }
}

fn destination(random: &mut Random) -> String {
    let service = if random.one_in(12) { "lonely" } else { random.of(&SERVICES) };
    match random.below(8) {
        0..5 => format!("{{host: {service}, subset: {}}}", random.of(&VERSIONS)),
        5 => format!("{{host: {service}, subset: v9}}"),
        _ => format!("{{host: {service}}}"),
    }
}

fn action(random: &mut Random) -> String {
    let (first, second) = (destination(random), destination(random));
    match random.below(12) {
        0 => {
            let to = random.of(&[
                "{uri: /new}",
                "{authority: other.example}",
                "{uri: /new, authority: other.example, redirectCode: 302}",
                "{scheme: https}",
                "{port: 8443, redirectCode: 307}",
                "{derivePort: FROM_REQUEST_PORT, authority: x.example}",
                "{uri: '/new?own=1', redirectCode: 308}",
            ]);
            format!("    redirect: {to}\n")
        }
        1 => format!(
            "    directResponse: {{status: {}, body: {{string: 'no'}}}}\n",
            random.of(&[200, 403, 451])
        ),
        2 => format!(
            "    fault: {{abort: {{httpStatus: {}, percentage: {{value: 100}}}}}}\n    route: [{{destination: {first}}}]\n",
            random.of(&[418, 500])
        ),
        3 | 4 => format!(
            "    route: [{{destination: {first}, weight: 50}}, {{destination: {second}, weight: 50}}]\n"
        ),
        5 | 6 => {
            let rewrite = random.of(&[
                "{uri: /other}",
                "{uri: /}",
                "{authority: inner.example}",
                "{uri: /x/, authority: inner.example}",
                "{uriRegexRewrite: {match: '/([ab])', rewrite: '/-\\1-'}}",
            ]);
            format!("    rewrite: {rewrite}\n    route: [{{destination: {first}}}]\n")
        }
        7 => format!(
            "    headers: {{request: {{set: {{x-set: 'yes'}}}}}}\n    route: [{{destination: {first}}}]\n"
        ),
        8 => format!("{}    route: [{{destination: {first}}}]\n", cors(random)),
        _ => format!("    route: [{{destination: {first}}}]\n"),
    }
}

fn cors(random: &mut Random) -> String {
    let origins = random.of(&[
        "{exact: 'https://a.example'}",
        "{prefix: 'https://a.'}, {exact: 'https://b.example'}",
        "{regex: 'https://[ab][.]example'}",
        "{exact: '*'}",
    ]);
    let methods = random.of(&[
        "",
        ", allowMethods: [GET, PUT]",
        ", allowMethods: ['*'], allowHeaders: ['*'], maxAge: 60s",
    ]);
    let others = random.of(&[
        "",
        ", exposeHeaders: [x-app-name], allowCredentials: true",
        ", unmatchedPreflights: IGNORE",
    ]);
    format!("    corsPolicy: {{allowOrigins: [{origins}]{methods}{others}}}\n")
}

/// A request.
#[derive(Debug)]
pub(crate) struct Generated {
    pub(crate) method: &'static str,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

pub(crate) fn request(random: &mut Random) -> Generated {
    let host = match random.below(10) {
        0 => random.of(&["nobody.example", "wild.example", "example"]).to_owned(),
        1..4 => {
            let service = random.of(&SERVICES);
            let suffix = random.of(&["", ".default", ".default.svc", ".default.svc.cluster.local"]);
            format!("{service}{suffix}")
        }
        _ => random.of(&HOSTS).replace('*', random.of(&["x", "y.z", "q.deep"])),
    };
    let host = if random.one_in(6) { host.to_ascii_uppercase() } else { host };
    let host = if random.one_in(5) { format!("{host}:8080") } else { host };
    let path = random.of(&[
        "/", "/a", "/a/b", "/a/b/c", "/ab", "/b", "/b/x", "/A", "/c", "/c/d", "/a/../b", "/%61/b", "//a",
        "/a/./b", "/d",
    ]);
    let query = random.of(&["", "", "?q=1", "?q=12", "?q=x&r=1", "?r=1&q=1"]);
    let mut headers = Vec::new();
    for name in ["x-user", "x-kind"] {
        if random.one_in(2) {
            headers.push((name.to_owned(), random.of(&["ann", "bob", "anna", "x", ""]).to_owned()));
        }
    }
    if random.one_in(10) {
        headers.push(("x-user".to_owned(), "bob".to_owned()));
    }
    let mut method = random.of(&["GET", "GET", "POST", "PUT", "DELETE"]);
    if random.one_in(3) {
        let origin = random.of(&["https://a.example", "https://b.example", "https://c.example"]);
        headers.push(("origin".to_owned(), origin.to_owned()));
        if random.one_in(2) {
            method = "OPTIONS";
            headers.push(("access-control-request-method".to_owned(), "PUT".to_owned()));
            headers.push(("access-control-request-headers".to_owned(), "x-user".to_owned()));
        }
    }
    Generated { method, host, path: format!("{path}{query}"), headers }
}
