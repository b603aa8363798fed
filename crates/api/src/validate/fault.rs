//! Faults made on purpose.

use super::{Report, older_spelling};
use crate::decode::reader::nearest;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::virtual_service::{Abort, Delay, Fault, GRPC_STATUS};

pub(super) fn check(fault: &Fault, path: &FieldPath, report: &mut Report) {
    if fault.delay.is_none() && fault.abort.is_none() {
        report.error(path, "bad-fault", "a fault is a delay or an abort");
    }
    if let Some(delay) = &fault.delay {
        self::delay(delay, &path.key("delay"), report);
    }
    if let Some(abort) = &fault.abort {
        self::abort(abort, &path.key("abort"), report);
    }
}

fn delay(delay: &Delay, path: &FieldPath, report: &mut Report) {
    if delay.exponential_delay.is_some() {
        report.error(&path.key("exponentialDelay"), "bad-fault", "Istio does not take exponential delays");
    } else if delay.fixed_delay.is_none() {
        report.error(path, "bad-fault", "`fixedDelay` is missing");
    }
    report.duration(&path.key("fixedDelay"), delay.fixed_delay);
    match delay.percent {
        Some(percent) if percent > 100 => {
            report.error(
                &path.key("percent"),
                "bad-percentage",
                format!("a percentage is 0 to 100, found {percent}"),
            );
        }
        Some(percent) => {
            report.add(older_spelling(&path.key("percent"), &format!("percentage: {{value: {percent}}}")))
        }
        None if delay.percentage.is_none() => report.add(no_share(path, "delayed")),
        None => {}
    }
}

fn abort(abort: &Abort, path: &FieldPath, report: &mut Report) {
    if abort.http2_error.is_some() {
        report.error(&path.key("http2Error"), "bad-fault", "Istio does not take HTTP/2 errors");
    } else if abort.http_status.is_none() && abort.grpc_status.is_none() {
        report.warning(path, "bad-fault", "without httpStatus or grpcStatus nothing is aborted");
    }
    if abort.http_status.is_some() && abort.grpc_status.is_some() {
        report.error(
            &path.key("grpcStatus"),
            "bad-fault",
            "`httpStatus` and `grpcStatus` exclude each other",
        );
    }
    if let Some(status) = abort.http_status.filter(|status| status.code() < 200) {
        report.error(
            &path.key("httpStatus"),
            "bad-status",
            format!("{status} ends no request; write 200 to 600"),
        );
    }
    if let Some(status) = abort.grpc_status.as_deref().filter(|status| !GRPC_STATUS.contains(status)) {
        let mut finding = Finding::error("bad-status", format!("`{status}` is no status of gRPC"))
            .at(&path.key("grpcStatus"));
        finding.hint = nearest(status, GRPC_STATUS).map(|nearest| format!("did you mean `{nearest}`?"));
        report.add(finding);
    }
    if abort.percentage.is_none() {
        report.add(no_share(path, "aborted"));
    }
}

fn no_share(path: &FieldPath, done: &str) -> Finding {
    Finding::warning("no-percentage", format!("without a percentage nothing is {done}"))
        .at(path)
        .hint("add percentage: {value: 100}")
}
