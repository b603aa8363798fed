//! Load balancing.

use super::{Report, locality, older_spelling};
use crate::destination_rule::{ConsistentHash, HashAlgorithm, HashKey, LoadBalancer};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::Decimal;

/// `outliers`: endpoints that fail are set aside.
pub(super) fn check(balancer: &LoadBalancer, outliers: bool, path: &FieldPath, report: &mut Report) {
    if balancer.simple.is_some() && balancer.consistent_hash.is_some() {
        report.error(
            &path.key("simple"),
            "conflicting-policies",
            "`simple` and `consistentHash` exclude each other",
        );
    }
    if let Some(hash) = &balancer.consistent_hash {
        consistent_hash(hash, &path.key("consistentHash"), report);
    }
    if balancer.locality_lb_setting.is_some() && balancer.zone_aware_lb_setting.is_some() {
        report.error(
            &path.key("localityLbSetting"),
            "conflicting-policies",
            "`localityLbSetting` and `zoneAwareLbSetting` exclude each other",
        );
    }
    if let Some(setting) = &balancer.locality_lb_setting {
        locality::check(setting, outliers, &path.key("localityLbSetting"), report);
    }
    if let Some(setting) = &balancer.zone_aware_lb_setting {
        locality::zone_aware(setting, outliers, &path.key("zoneAwareLbSetting"), report);
    }
    if let Some(duration) = balancer.warmup_duration_secs {
        let here = path.key("warmupDurationSecs");
        report.duration(&here, Some(duration));
        report.add(older_spelling(&here, "warmup: {duration: ...}"));
    }
    if let Some(warmup) = &balancer.warmup_setting {
        let here = path.key("warmup");
        if warmup.duration.is_none() {
            report.error(&here, "bad-warmup", "`duration` is missing");
        }
        report.duration(&here.key("duration"), warmup.duration);
        if warmup.minimum_percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent.as_f64())) {
            report.error(&here.key("minimumPercent"), "bad-percentage", "a percentage is 0 to 100");
        }
        if warmup.aggression.is_some_and(|aggression| aggression <= Decimal::default()) {
            report.error(&here.key("aggression"), "bad-warmup", "must be more than 0");
        }
    }
}

fn consistent_hash(hash: &ConsistentHash, path: &FieldPath, report: &mut Report) {
    match &hash.key {
        None => report.add(
            Finding::warning("no-hash-key", "nothing is hashed, so equal requests go to any endpoint")
                .at(path)
                .hint("add httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName"),
        ),
        Some(HashKey::HttpCookie(cookie)) => {
            let here = path.key("httpCookie");
            if cookie.name.is_empty() {
                report.error(&here, "bad-cookie", "a cookie must have a name");
            }
            for (index, attribute) in cookie.attributes.iter().enumerate() {
                let at = here.key("attributes").index(index);
                if attribute.name.is_empty() {
                    report.error(&at, "bad-cookie", "an attribute must have a name");
                } else if cookie.attributes[..index].iter().any(|other| other.name == attribute.name) {
                    report.error(
                        &at,
                        "bad-cookie",
                        format!("`{}` stands here a second time", attribute.name),
                    );
                }
            }
        }
        Some(HashKey::HttpHeader(_) | HashKey::SourceIp | HashKey::HttpQueryParameter(_)) => {}
    }
    if let Some(HashAlgorithm::Maglev(Some(size))) = hash.algorithm
        && !(size < 5_000_011 && is_prime(size))
    {
        report.error(
            &path.key("maglev").key("tableSize"),
            "bad-table-size",
            format!("the size of a table is a prime below 5000011, found {size}"),
        );
    }
}

/// For numbers below some millions.
fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}
