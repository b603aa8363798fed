//! What the proxy says itself: Kubernetes' errors, and objects that are not as they should be. Pure.

use bytes::Bytes;
use serde_json::{Value, json};

/// An error of Kubernetes' form.
pub(super) fn status(code: u16) -> Value {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("the proxy of the test answers {code}"),
        "reason": reason,
        "code": code,
    })
}

/// The event by which a watch says that what it is at is too old.
pub(super) fn gone() -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status(410)})))
}

/// An event in which the object of that name, if it is about it, has a number as its `spec`.
pub(super) fn garbled_event(line: &Bytes, name: &str) -> Bytes {
    garbled(line, "\n", |event| garble(&mut event["object"], name))
}

/// A list in which the object of that name has a number as its `spec`; or that object alone.
pub(super) fn garbled_list(body: &Bytes, name: &str) -> Bytes {
    garbled(body, "", |value| match value.get_mut("items").and_then(Value::as_array_mut) {
        // Two namespaces may have one of that name each.
        Some(items) => items.iter_mut().filter_map(|item| garble(item, name).then_some(())).count() > 0,
        None => garble(value, name),
    })
}

/// The same bytes where `change` changes nothing.
fn garbled(bytes: &Bytes, end: &str, change: impl FnOnce(&mut Value) -> bool) -> Bytes {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(mut value) => {
            if change(&mut value) {
                Bytes::from(format!("{value}{end}"))
            } else {
                bytes.clone()
            }
        }
        Err(_) => bytes.clone(),
    }
}

fn garble(object: &mut Value, name: &str) -> bool {
    if object["metadata"]["name"] != name {
        return false;
    }
    object["spec"] = json!(7);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_object_of_that_name_is_garbled() {
        let list = Bytes::from(
            r#"{"items":[{"metadata":{"name":"a"},"spec":{}},{"metadata":{"name":"b"},"spec":{}}]}"#,
        );
        let garbled = String::from_utf8(garbled_list(&list, "b").to_vec()).unwrap_or_default();
        assert_eq!(
            garbled,
            r#"{"items":[{"metadata":{"name":"a"},"spec":{}},{"metadata":{"name":"b"},"spec":7}]}"#
        );
        let event = Bytes::from("{\"type\": \"ADDED\", \"object\": {\"metadata\": {\"name\": \"a\"}}}\n");
        assert_eq!(garbled_event(&event, "b"), event);
        assert!(garbled_event(&event, "a").ends_with(b"\"spec\":7}}\n"));
    }
}
