//! Metrics of our own under the names by which dashboards and alerts made for Istiod know them.
//!
//! Knows: those of Istiod's names that mean the same here. Must not know how anything is counted: it reads the counters of the streams.
//! Invariant: a name is here only if who reads it is not misled; what Meltemi has no equal of is absent, not zero.

use std::fmt::Error;

use meltemi_names::TypeUrl;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

/// Answers a scrape from the counters of the streams.
#[derive(Debug)]
pub(crate) struct Pilot(pub(crate) meltemi_xds::Metrics);

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Pilot {
    /// By type, in lower case as Istiod writes them; types that were never served are left out.
    fn by_type(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        count: impl Fn(TypeUrl) -> u64,
    ) -> Result<(), Error> {
        // Istiod's counters have no `_total` in their names, which a counter would get.
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
        for type_url in TypeUrl::ALL {
            let count = count(type_url);
            if count > 0 {
                let labels = [("type", type_url.short().to_ascii_lowercase())];
                metric.encode_family(&labels)?.encode_gauge(&count)?;
            }
        }
        Ok(())
    }
}

impl Collector for Pilot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Self(streams) = self;
        let build = [("component", "pilot"), ("tag", VERSION)];
        encoder
            .encode_descriptor("istio_build", "What runs", None, MetricType::Gauge)?
            .encode_family(&build)?
            .encode_gauge(&1_i64)?;
        encoder
            .encode_descriptor("pilot_info", "What runs", None, MetricType::Gauge)?
            .encode_family(&[("version", VERSION)])?
            .encode_gauge(&1_i64)?;
        encoder
            .encode_descriptor("pilot_xds", "Live streams, as meltemi_xds_streams", None, MetricType::Gauge)?
            .encode_gauge(&streams.streams())?;
        let pushes = "Responses sent, as meltemi_xds_responses_total";
        self.by_type(&mut encoder, "pilot_xds_pushes", pushes, |kind| streams.responses(kind))?;
        let rejects = "Responses refused, as meltemi_xds_nacks_total";
        self.by_type(&mut encoder, "pilot_total_xds_rejects", rejects, |kind| streams.nacks(kind))?;
        let stale = "Answers to superseded responses, as meltemi_xds_stale_nonces_total";
        self.by_type(&mut encoder, "pilot_xds_expired_nonce", stale, |kind| streams.stale(kind))
    }
}
