//! What the demo does: edits of the routing, and what the traffic must do after each.

use anyhow::Result;
use meltemi_testkit::http::{Tally, share_bound};

use super::SAMPLE;

/// A version of the app.
pub(super) struct Version {
    pub(super) name: &'static str,
    /// Where it listens, as `examples/canary/endpoints-local.yaml` says.
    pub(super) port: u16,
}

pub(super) const V1: Version = Version { name: "v1", port: 9001 };
pub(super) const V2: Version = Version { name: "v2", port: 9002 };

/// How a user changes `routing.yaml`.
pub(super) enum Edit {
    /// Not at all.
    None,
    /// Puts a file of `examples` in its place.
    Use(&'static str),
    /// Changes lines of it.
    Change(&'static [(&'static str, &'static str)]),
}

/// One edit, and what must follow.
pub(super) struct Act {
    pub(super) title: &'static str,
    pub(super) edit: Edit,
    /// The share of v2 (0 to 1) in plain requests; the rest is v1's.
    pub(super) share_of_v2: f64,
    pub(super) probes: &'static [Probe],
}

/// Requests of one kind, which all must be answered by one version.
pub(super) struct Probe {
    pub(super) title: &'static str,
    pub(super) path: &'static str,
    pub(super) header: Option<(&'static str, &'static str)>,
    pub(super) version: &'static str,
    /// Whether v2 must get a copy of each.
    pub(super) mirrored: bool,
}

const PLAIN: Probe = Probe { title: "", path: "/", header: None, version: "v1", mirrored: false };

pub(super) const SCRIPT: &[Act] = &[
    Act { title: "canary 90/10", edit: Edit::None, share_of_v2: 0.1, probes: &[] },
    Act {
        title: "canary 50/50",
        edit: Edit::Change(&[("weight: 90", "weight: 50"), ("weight: 10", "weight: 50")]),
        share_of_v2: 0.5,
        probes: &[],
    },
    Act {
        title: "canary 0/100",
        edit: Edit::Change(&[("weight: 50", "weight: 0"), ("weight: 50", "weight: 100")]),
        share_of_v2: 1.0,
        probes: &[],
    },
    Act { title: "and back to 90/10", edit: Edit::Use("canary/routing.yaml"), share_of_v2: 0.1, probes: &[] },
    Act {
        title: "blue-green: blue",
        edit: Edit::Use("strategies/blue-green.yaml"),
        share_of_v2: 0.0,
        probes: &[],
    },
    Act {
        title: "switch to green",
        edit: Edit::Change(&[("subset: blue", "subset: green")]),
        share_of_v2: 1.0,
        probes: &[],
    },
    Act {
        title: "roll back to blue",
        edit: Edit::Change(&[("subset: green", "subset: blue")]),
        share_of_v2: 0.0,
        probes: &[],
    },
    Act {
        title: "mirror to v2",
        edit: Edit::Use("strategies/mirror.yaml"),
        share_of_v2: 0.0,
        probes: &[Probe { title: "  v2 gets a copy of each", path: "/copied", mirrored: true, ..PLAIN }],
    },
    Act {
        title: "A/B test: all others",
        edit: Edit::Use("strategies/ab-test.yaml"),
        share_of_v2: 0.0,
        probes: &[
            Probe {
                title: "  header x-user: user-123",
                header: Some(("x-user", "user-123")),
                version: "v2",
                ..PLAIN
            },
            Probe { title: "  header x-user: user-12", header: Some(("x-user", "user-12")), ..PLAIN },
            Probe {
                title: "  cookie group=b",
                header: Some(("cookie", "theme=dark; group=b")),
                version: "v2",
                ..PLAIN
            },
            Probe { title: "  cookie group=a", header: Some(("cookie", "theme=dark; group=a")), ..PLAIN },
            Probe { title: "  query ?version=b", path: "/?version=b", version: "v2", ..PLAIN },
            Probe { title: "  query ?version=c", path: "/?version=c", ..PLAIN },
        ],
    },
];

impl Act {
    /// Whether the requests went as they should.
    pub(super) fn judge(&self, tally: &Tally) -> Result<()> {
        tally.expect_share(V2.name, self.share_of_v2)?;
        // What v2 does not answer, v1 must.
        tally.expect_share(V1.name, 1.0 - self.share_of_v2)
    }

    /// What must be seen, for people.
    pub(super) fn wanted(&self) -> String {
        let bound = share_bound(self.share_of_v2, SAMPLE) * 100.0;
        let percent = self.share_of_v2 * 100.0;
        if bound == 0.0 { format!("v2 {percent:.0} %") } else { format!("v2 {percent:.0} % ± {bound:.1}") }
    }
}
