//! Secrets as Istio, an operator and a change of signers leave them.

use std::time::Duration;

use meltemi_ca::rotate::{Phase, World};
use meltemi_ca::rotate::{Report, Step};
use meltemi_ca::{Authority, Time};
use proptest::prelude::*;

use super::*;

fn now() -> Time {
    Time::from_unix(1_800_000_000)
}

fn root() -> (SignerId, Material) {
    let material = Material::generate("cluster.local", Duration::from_secs(86_400), now()).unwrap();
    (material.id().unwrap(), material)
}

fn steady() -> Kept {
    let (id, material) = root();
    Kept { rotation: Rotation::steady(id.clone()), signers: BTreeMap::from([(id, material)]) }
}

/// So many steps into a change to another root.
fn changing(steps: usize) -> Kept {
    let Kept { rotation, mut signers } = steady();
    let (id, material) = root();
    signers.insert(id.clone(), material);
    let old = rotation.signer().clone();
    let mut rotation = rotation.reserve(&old, now(), Duration::ZERO).unwrap().unwrap().begin(id).unwrap();
    for _ in 1..steps {
        let report = Report { epoch: rotation.epoch(), behind: None };
        let world = World::from([("a".to_owned(), Some(report))]);
        match rotation.advance(now().after(Duration::from_secs(600)), &world) {
            Step::Keep(next) => rotation = next,
            Step::Wait(waiting) => panic!("{waiting:?}"),
        }
    }
    let trusted: Vec<SignerId> = rotation.trusted().into_iter().cloned().collect();
    signers.retain(|id, _| trusted.contains(id));
    Kept { rotation, signers }
}

fn text(data: &Data, key: &str) -> String {
    String::from_utf8(data[key].0.clone()).unwrap()
}

fn assert_same(one: &Kept, other: &Kept) {
    assert_eq!(one.rotation, other.rotation);
    assert!(one.signers == other.signers, "signers differ");
}

#[test]
fn what_is_written_is_read_again_at_each_step_of_a_change() {
    for steps in 0..5 {
        let kept = if steps == 0 { steady() } else { changing(steps) };
        let data = encode(&kept, &Data::new()).unwrap();
        assert_same(&decode(&data).unwrap(), &kept);
        let authority = Authority::load(&kept.signers[kept.rotation.signer()], now()).unwrap();
        assert_eq!(
            text(&data, "ca-cert.pem"),
            String::from_utf8(kept.signers[authority.id()].certificate.clone()).unwrap()
        );
        let roots = text(&data, "root-cert.pem").matches("BEGIN CERTIFICATE").count();
        assert_eq!(roots, kept.rotation.trusted().len());
        assert_eq!((text(&data, "key.pem"), text(&data, "cert-chain.pem")), (String::new(), String::new()));
    }
}

#[test]
fn what_others_keep_in_the_secret_stays_and_what_is_retired_goes() {
    let mut data = encode(&changing(3), &Data::new()).unwrap();
    data.insert("note.txt".to_owned(), ByteString(b"mine".to_vec()));
    data.insert("zz-cert.pem".to_owned(), ByteString(b"mine".to_vec()));
    let Kept { rotation, signers } = changing(3);
    let Phase::Retiring { old, .. } = rotation.phase().clone() else { panic!("{rotation:?}") };
    let next = encode(&steady(), &encode(&Kept { rotation, signers }, &data).unwrap()).unwrap();
    assert_eq!((text(&next, "note.txt"), text(&next, "zz-cert.pem")), ("mine".to_owned(), "mine".to_owned()));
    assert!(!next.keys().any(|key| key.starts_with(old.as_str())), "{:?}", next.keys());
    assert_eq!(next.len(), 9, "{:?}", next.keys());
}

#[test]
fn a_root_of_istios_is_taken_as_it_is() {
    let (id, material) = root();
    let piece = |value: &[u8]| ByteString(value.to_vec());
    let data = Data::from([
        ("ca-cert.pem".to_owned(), piece(&material.certificate)),
        ("ca-key.pem".to_owned(), piece(material.key.reveal())),
        ("root-cert.pem".to_owned(), piece(&material.certificate)),
        ("cert-chain.pem".to_owned(), piece(b"")),
        ("key.pem".to_owned(), piece(b"")),
    ]);
    let kept = decode(&data).unwrap();
    assert_eq!(kept.rotation, Rotation::steady(id.clone()));
    assert!(kept.signers[&id] == material);
    // What it is written as is Istio's still.
    let written = encode(&kept, &data).unwrap();
    for (key, value) in &data {
        assert_eq!(
            String::from_utf8_lossy(&written[key].0).trim(),
            String::from_utf8_lossy(&value.0).trim(),
            "{key}"
        );
    }
}

/// Another certificate of the same key, as Istio renews its root.
fn renewed(material: &Material) -> Vec<u8> {
    let key = rcgen::KeyPair::from_pem(std::str::from_utf8(material.key.reveal()).unwrap()).unwrap();
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(&material.certificate).unwrap();
    let before: rustls::pki_types::CertificateDer<'_> = der;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = {
        // As it was, since it is the name by which what it signed finds it.
        let (_, read) = x509_parser::parse_x509_certificate(&before).unwrap();
        let mut name = rcgen::DistinguishedName::new();
        for attribute in read.subject().iter_attributes() {
            let kind = if attribute.attr_type() == &x509_parser::oid_registry::OID_X509_COMMON_NAME {
                rcgen::DnType::CommonName
            } else {
                rcgen::DnType::OrganizationName
            };
            name.push(kind, attribute.as_str().unwrap());
        }
        name
    };
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2035, 1, 1);
    params.self_signed(&key).unwrap().pem().into_bytes()
}

#[test]
fn a_root_that_istio_renewed_under_the_same_key_is_noticed_and_signs() {
    for steps in 0..5 {
        let kept = if steps == 0 { steady() } else { changing(steps) };
        let signer = kept.rotation.signer().clone();
        let mut data = encode(&kept, &Data::new()).unwrap();
        let certificate = renewed(&kept.signers[&signer]);
        data.insert("ca-cert.pem".to_owned(), ByteString(certificate.clone()));
        data.insert("root-cert.pem".to_owned(), ByteString(certificate.clone()));
        let found = decode(&data).unwrap();
        assert_ne!(*found.rotation.signer(), signer);
        assert!(
            found.rotation.revision() > kept.rotation.revision()
                && found.rotation.epoch() > kept.rotation.epoch()
        );
        assert_eq!(found.signers[found.rotation.signer()].certificate, certificate);
        assert_eq!(found.signers.len(), kept.signers.len());
        assert_eq!(
            found.rotation.signed_until(found.rotation.signer()),
            kept.rotation.signed_until(&signer),
            "what was signed is not forgotten"
        );
        assert_same(&decode(&encode(&found, &data).unwrap()).unwrap(), &found);
    }
}

#[test]
fn another_key_is_refused_with_what_to_do() {
    let mut data = encode(&steady(), &Data::new()).unwrap();
    let (found, other) = root();
    data.insert("ca-cert.pem".to_owned(), ByteString(other.certificate.clone()));
    data.insert("ca-key.pem".to_owned(), ByteString(other.key.reveal().clone()));
    let error = decode(&data).unwrap_err();
    assert!(matches!(&error, Wrong::Another { found: said, .. } if *said == found), "{error}");
    assert!(error.to_string().contains("`cacerts`"), "{error}");
    // Without our state it is a Secret that somebody put there whole.
    data.remove(STATE);
    assert_eq!(*decode(&data).unwrap().rotation.signer(), found);
}

#[test]
fn what_is_missing_or_no_state_is_named() {
    let data = encode(&changing(1), &Data::new()).unwrap();
    for key in data
        .keys()
        .filter(|key| !["cert-chain.pem", "root-cert.pem", "key.pem", STATE].contains(&key.as_str()))
    {
        let mut less = data.clone();
        less.remove(key);
        assert_eq!(decode(&less).unwrap_err(), Wrong::Missing(key.clone()));
    }
    let mut spoilt = data;
    spoilt.insert(STATE.to_owned(), ByteString(b"{".to_vec()));
    assert!(matches!(decode(&spoilt), Err(Wrong::State(_))));
}

proptest! {
    #[test]
    fn whatever_is_in_a_secret_is_no_panic(pieces in proptest::collection::btree_map("(ca-(cert|key)|root-cert|cert-chain|[0-9a-f]{16}-cert)\\.pem|meltemi-rotation\\.json", proptest::collection::vec(any::<u8>(), 0..64), 0..6)) {
        let data: Data = pieces.into_iter().map(|(key, value)| (key, ByteString(value))).collect();
        prop_assert!(decode(&data).is_err());
    }

    #[test]
    fn pieces_of_any_text_come_back(chain in "[a-z\\n]{0,40}", roots in "[a-z]{1,40}", crl in "[a-z]{0,40}") {
        let mut kept = steady();
        for material in kept.signers.values_mut() {
            material.chain = chain.clone().into_bytes();
            material.roots = roots.clone().into_bytes();
            material.crl = crl.clone().into_bytes();
        }
        let data = encode(&kept, &Data::new()).unwrap();
        assert_same(&decode(&data).unwrap(), &kept);
    }
}
