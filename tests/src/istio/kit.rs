//! The parts that are not Meltemi's and not in this repository: Istio's agent, and the template of its bootstrap.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// Where an image of Istio has the template.
const IN_IMAGE: &str = "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json";

/// The parts.
#[derive(Clone, Debug)]
pub struct Kit {
    /// `pilot-agent`.
    pub(super) agent: PathBuf,
    /// `envoy_bootstrap_tmpl.json`, which the agent fills in.
    pub(super) template: PathBuf,
}

impl Kit {
    /// What `PILOT_AGENT_BIN` names, and `PILOT_AGENT_TEMPLATE`; without the latter, a file of the template's name beside the agent, or
    /// where an image of Istio has it.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn find() -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let Some(agent) = variable("PILOT_AGENT_BIN") else {
            bail!(
                "PILOT_AGENT_BIN names no pilot-agent: build one from Istio's sources (`go build ./pilot/cmd/pilot-agent`), or take it out of an image"
            );
        };
        if !agent.is_file() {
            bail!("PILOT_AGENT_BIN is {}, which is no file: unset it or mend it", agent.display());
        }
        let beside = agent.with_file_name("envoy_bootstrap_tmpl.json");
        let mut places = variable("PILOT_AGENT_TEMPLATE").into_iter().chain([beside, IN_IMAGE.into()]);
        let Some(template) = places.find(|place| place.is_file()) else {
            bail!(
                "Istio's agent wants the template of its bootstrap: let PILOT_AGENT_TEMPLATE name it (tools/packaging/common/envoy_bootstrap.json in Istio's sources, {IN_IMAGE} in its images)"
            );
        };
        Ok(Self { agent: std::path::absolute(agent)?, template: std::path::absolute(template)? })
    }
}
