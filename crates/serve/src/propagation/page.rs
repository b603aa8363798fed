//! `GET /api/v1/in-force`: the question as a query, the answer as JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use meltemi_names::{Namespace, ObjectKey, ObjectName};
use serde_json::{Value, json};

use super::ask::{Ask, Scope, Want};
use super::parse_kind;
use crate::pages::Shown;

/// The page.
pub const PATH: &str = "/api/v1/in-force";

/// Who wants to wait longer asks again; a connection that is idle for longer is cut by proxies between.
const LONGEST: Duration = Duration::from_secs(300);

/// Answers the page.
pub(crate) async fn in_force(State(shown): State<Arc<Shown>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let ask = match parse(&query) {
        Ok(ask) => ask,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error),
    };
    match shown.propagation.ask(&ask).await {
        Ok(answer) if !answer.met && is_strict(&query) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
        }
        Ok(answer) => Json(answer).into_response(),
        Err(busy) => refuse(StatusCode::TOO_MANY_REQUESTS, &busy.to_string()),
    }
}

/// For tools that read nothing but the status code: 503 instead of 200 for what is not so.
fn is_strict(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "strict" && value == "true")
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// The error in the body of such an answer.
pub fn error_of(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let error = json.as_ref().and_then(|json| json["error"].as_str()).map(str::to_owned);
    error.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}

/// The page with the question in its query.
pub fn path(ask: &Ask) -> String {
    let Ask { object, want, timeout, scope } = ask;
    let mut query = form_urlencoded::Serializer::new(format!("{PATH}?"));
    query
        .append_pair("kind", object.kind.as_str())
        .append_pair("namespace", object.namespace.as_str())
        .append_pair("name", object.name.as_str())
        .append_pair("scope", if *scope == Scope::Mesh { "mesh" } else { "replica" });
    match want {
        Want::Latest => {}
        Want::Generation(generation) => {
            query.append_pair("generation", &generation.to_string());
        }
        Want::Content(content) => {
            query.append_pair("content", content);
        }
        Want::Deleted => {
            query.append_pair("for", "deleted");
        }
    }
    if let Some(timeout) = timeout {
        query.append_pair("timeout", &format!("{}ms", timeout.as_millis()));
    }
    query.finish()
}

/// The question in a query.
pub(super) fn parse(query: &str) -> Result<Ask, String> {
    let (mut kind, mut namespace, mut name) = (None, Namespace::from("default"), None);
    let (mut want, mut timeout, mut scope) = (Want::Latest, None, Scope::Replica);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "kind" => kind = Some(parse_kind(&value)?),
            "namespace" => namespace = Namespace::from(&*value),
            "name" => name = Some(ObjectName::from(&*value)),
            "generation" => {
                let wrong = |_| format!("generation `{value}` is not a number");
                want = Want::Generation(value.parse().map_err(wrong)?);
            }
            "content" => want = Want::Content(value.into_owned()),
            "for" if value == "deleted" => want = Want::Deleted,
            "for" if value == "in-force" => {}
            "for" => return Err(format!("for `{value}`: write `in-force` or `deleted`")),
            "timeout" => timeout = Some(parse_duration(&value)?.min(LONGEST)),
            "scope" if value == "replica" => scope = Scope::Replica,
            "scope" if value == "mesh" => scope = Scope::Mesh,
            "scope" => return Err(format!("scope `{value}`: write `replica` or `mesh`")),
            "strict" if value == "true" || value == "false" => {}
            "strict" => return Err(format!("strict `{value}`: write `true` or `false`")),
            // A word that is not understood may be what makes the question: it must not be answered without.
            _ => {
                return Err(format!(
                    "`{key}` is none of kind, namespace, name, generation, content, for, timeout, scope, strict"
                ));
            }
        }
    }
    let missing = |what: &str| {
        format!("{what} is missing, as in {PATH}?kind=VirtualService&namespace=shop&name=reviews")
    };
    let kind = kind.ok_or_else(|| missing("kind"))?;
    let name = name.filter(|name| !name.as_str().is_empty()).ok_or_else(|| missing("name"))?;
    Ok(Ask { object: ObjectKey { kind, namespace, name }, want, timeout, scope })
}

/// `30s`, `500ms`, `2m`; a bare number is seconds.
///
/// # Errors
/// With what to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse::<u64>().ok();
    let duration = match (number, &text[digits..]) {
        (Some(number), "ms") => Some(Duration::from_millis(number)),
        (Some(number), "s" | "") => Some(Duration::from_secs(number)),
        (Some(number), "m") => number.checked_mul(60).map(Duration::from_secs),
        (Some(number), "h") => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    };
    duration.ok_or_else(|| format!("`{text}` is no duration; write it as in 30s, 500ms or 2m"))
}

#[cfg(test)]
mod tests {
    use super::{parse, parse_duration, path};
    use crate::propagation::{Ask, Scope, Want};
    use meltemi_names::{Kind, ObjectKey};
    use std::time::Duration;

    #[test]
    fn a_question_reads_as_it_was_written() {
        let object = ObjectKey::new(Kind::VirtualService, "shop", "a&b=c d");
        for want in [Want::Latest, Want::Generation(7), Want::Content("x_-1".to_owned()), Want::Deleted] {
            for (timeout, scope) in
                [(None, Scope::Replica), (Some(Duration::from_millis(1_500)), Scope::Mesh)]
            {
                let ask = Ask { object: object.clone(), want: want.clone(), timeout, scope };
                let path = path(&ask);
                assert_eq!(parse(path.split_once('?').unwrap().1), Ok(ask), "{path}");
            }
        }
    }

    #[test]
    fn people_may_write_it_short() {
        let ask = parse("kind=vs&name=reviews&timeout=30").unwrap();
        assert_eq!(ask.object.to_string(), "VirtualService default/reviews");
        assert_eq!((ask.timeout, ask.scope), (Some(Duration::from_secs(30)), Scope::Replica));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_to_write() {
        for (query, said) in [
            ("name=x", "kind is missing"),
            ("kind=vs", "name is missing"),
            ("kind=vs&name=", "name is missing"),
            ("kind=thing&name=x", "`thing` is no kind"),
            ("kind=vs&name=x&generation=new", "is not a number"),
            ("kind=vs&name=x&timeout=soon", "30s"),
            ("kind=vs&name=x&scope=all", "`replica` or `mesh`"),
            ("kind=vs&name=x&for=ready", "`in-force` or `deleted`"),
            ("kind=vs&name=x&genration=3", "`genration` is none of"),
        ] {
            assert!(parse(query).unwrap_err().contains(said), "{query}: {:?}", parse(query));
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        let all = ["500ms", "30s", "30", "2m", "1h"].map(|text| parse_duration(text).unwrap().as_millis());
        assert_eq!(all, [500, 30_000, 30_000, 120_000, 3_600_000]);
        for text in ["", "s", "-1s", "1.5s", "1d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
