//! The mesh's providers of logs, spans and metrics: which there are, and whether Envoy takes what they say.

use super::{Report, telemetry};
use crate::MeshConfig;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::mesh_config::{ExtensionProvider, PROMETHEUS};

pub(super) fn check(mesh: &MeshConfig, path: &FieldPath, report: &mut Report) {
    let defaults = path.key("defaultProviders");
    for (index, provider) in mesh.default_providers.metrics.iter().flatten().enumerate() {
        if mesh.provider(provider).is_none_or(|provider| provider.prometheus.is_none()) {
            report.warning(
                &defaults.key("metrics").index(index),
                "not-supported-yet",
                format!("metrics go to no provider but `{PROMETHEUS}`; nothing is sent to `{provider}`"),
            );
        }
    }
    for (index, name) in mesh.default_providers.access_logging.iter().enumerate() {
        if mesh.provider(name).is_none_or(|provider| !provider.logs()) {
            unknown(&defaults.key("accessLogging").index(index), name, "access logs", report);
        }
    }
    for (index, name) in mesh.default_providers.tracing.iter().enumerate() {
        let here = defaults.key("tracing").index(index);
        if index > 0 {
            report.add(
                Finding::warning("several-providers", "spans go to one provider, the first")
                    .at(&here)
                    .in_force("the first provider"),
            );
        } else if mesh.provider(name).is_none_or(|provider| !provider.traces()) {
            unknown(&here, name, "spans", report);
        }
    }
    for (index, provider) in mesh.extension_providers.iter().enumerate() {
        let here = path.key("extensionProviders").index(index);
        let before = mesh.extension_providers.iter().take(index);
        if before.into_iter().any(|other| other.name.eq_ignore_ascii_case(&provider.name)) {
            report.add(
                Finding::warning("duplicate-provider", format!("`{}` is defined twice", provider.name))
                    .at(&here.key("name"))
                    .in_force("the first"),
            );
        }
        one(provider, &here, report);
    }
    if let Some(why) = mesh.access_log_fault() {
        report.add(bad_format(&why).at(&path.key("accessLogFormat")));
    }
    let tags = path.key("defaultConfig").key("tracing").key("customTags");
    for (name, tag) in &mesh.default_config.tracing.custom_tags {
        telemetry::custom_tag(name, tag, &tags.key(name), report);
    }
}

fn unknown(path: &FieldPath, name: &str, what: &str, report: &mut Report) {
    report.add(
        Finding::warning("unknown-provider", format!("no provider `{name}` takes {what}"))
            .at(path)
            .in_force("nothing is sent to it")
            .hint("define it in extensionProviders"),
    );
}

fn bad_format(why: &str) -> Finding {
    // Envoy refuses a listener with a format that it cannot read, and all that it takes.
    Finding::warning("bad-format", why).in_force("Istio's format")
}

fn one(provider: &ExtensionProvider, path: &FieldPath, report: &mut Report) {
    if provider.name.is_empty() {
        report.error(&path.key("name"), "bad-value", "a provider needs a name");
    }
    if provider.kinds() != 1 {
        let message = format!("a provider is of one kind, this one of {}", provider.kinds());
        report.error(path, "bad-value", message);
    }
    if let Some(service) = provider.service()
        && (service.service.is_empty() || service.port.is_none())
    {
        report.error(path, "bad-value", "the service that it sends to needs `service` and `port`");
    }
    let file = provider.envoy_file_access_log.as_ref().and_then(|log| log.log_format.as_ref());
    let otel = provider.envoy_otel_als.as_ref().and_then(|log| log.log_format.as_ref());
    for (format, of) in [(file, "envoyFileAccessLog"), (otel, "envoyOtelAls")] {
        let Some(format) = format else { continue };
        let here = path.key(of).key("logFormat");
        if of == "envoyFileAccessLog" && format.text.is_some() && format.labels.is_some() {
            report.error(&here, "bad-value", "only one of text and labels may be given");
        }
        if let Some(why) = format.fault() {
            report.add(bad_format(&why).at(&here));
        }
    }
    if let Some(spans) = &provider.opentelemetry {
        let here = path.key("opentelemetry");
        if spans.http.is_some() && spans.grpc.is_some() {
            report.error(&here, "bad-value", "only one of http and grpc may be given");
        }
        let sampler = spans.dynatrace_sampler.as_ref();
        let asks = here.key("dynatraceSampler").key("httpService");
        if let Some(api) = sampler.and_then(|sampler| sampler.http_service.as_ref()) {
            if api.service.is_empty() || api.port.is_none() {
                report.error(&asks, "bad-value", "the service that is asked needs `service` and `port`");
            }
            if api.http.path.is_empty() {
                report.error(&asks.key("http"), "bad-value", "the service is asked at a `path`");
            }
        } else if sampler.is_some() && spans.http.is_none() {
            report.add(
                Finding::warning("bad-value", "the sampler asks by HTTP, and the provider has no `http`")
                    .at(&here.key("dynatraceSampler"))
                    .in_force("nothing is traced by this provider, as in Istio"),
            );
        }
    }
}
