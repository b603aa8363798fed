//! A stream of secrets as whoever reaches the socket may drive it: messages of any bytes, while secrets change.
//!
//! The input is a byte for the spelling, then steps: a byte, below 128 the length of a message that follows, else a change of a secret.
//! Must hold: no panic; each message is taken or ends the stream; after each step the machine comes to rest with one response at most;
//! what it sends decodes, has names that were asked for, and is never larger than all that there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_agent::sds::{Form, MAX_NAMES, Machine, Name, Request, Response, Secrets};
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let Some((first, mut rest)) = data.split_first() else { return };
    let form = if first % 2 == 0 { Form::Sotw } else { Form::Delta };
    let mut machine = Machine::new(form);
    let mut secrets = Secrets::default();
    while let Some((step, after)) = rest.split_first() {
        rest = after;
        if *step >= 128 {
            change(&mut secrets, *step);
        } else {
            let (message, after) = rest.split_at(usize::from(*step).min(rest.len()));
            rest = after;
            let Some(request) = read(form, message) else { return };
            // A stream that was closed is gone.
            if machine.request(request).is_err() {
                return;
            }
        }
        assert!(machine.files().count() <= MAX_NAMES);
        if let Some(response) = machine.next(&secrets) {
            check(&response);
        }
        assert!(machine.next(&secrets).is_none(), "it does not come to rest");
    }
});

fn read(form: Form, bytes: &[u8]) -> Option<Request> {
    match form {
        Form::Sotw => Request::sotw(DiscoveryRequest::decode(bytes).ok()?).ok(),
        Form::Delta => Request::delta(DeltaDiscoveryRequest::decode(bytes).ok()?).ok(),
    }
}

fn change(secrets: &mut Secrets, step: u8) {
    let content = (step / 8).to_string();
    let file = || Name::FileRoot("/r".to_owned());
    let _changed = match step % 4 {
        0 => secrets.put_pair(Name::Default, &content, "key"),
        1 => secrets.put_roots(Name::RootCa, &content, (step & 64 != 0).then_some("lists")),
        2 => secrets.put_roots(file(), &content, None),
        _ => {
            secrets.forget(&file());
            true
        }
    };
}

fn check(response: &Response) {
    let secret = |bytes: &[u8]| Secret::decode(bytes).expect("a secret that decodes");
    match response {
        Response::Sotw(message) => {
            assert!(!message.resources.is_empty() && message.resources.len() <= 3);
            for resource in &message.resources {
                assert!(Name::parse(&secret(&resource.value).name).is_some());
            }
        }
        Response::Delta(message) => {
            assert!(message.resources.len() <= 3 && message.removed_resources.len() <= MAX_NAMES);
            for resource in &message.resources {
                let any = resource.resource.as_ref().expect("a resource");
                assert_eq!(secret(&any.value).name, resource.name);
            }
            assert!(message.removed_resources.iter().all(|name| Name::parse(name).is_none()));
        }
    }
}
