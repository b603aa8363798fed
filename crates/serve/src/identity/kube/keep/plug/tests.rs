//! Intermediates that are plugged in, changed, and spoilt.

use std::time::Duration;

use meltemi_ca::Piece;
use meltemi_names::Secret;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::*;

fn now() -> Time {
    Time::from_unix(1_800_000_000)
}

fn root() -> Material {
    Material::generate("cluster.local", Duration::from_secs(86_400), now()).unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// An intermediate of that root, whose bundle is `roots`.
fn intermediate(of: &Material, roots: &[&Material]) -> Material {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "intermediate");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2035, 1, 1);
    let root_key = KeyPair::from_pem(text(of.key.reveal())).unwrap();
    let issuer = Issuer::from_ca_cert_pem(text(&of.certificate), &root_key).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem().into_bytes();
    Material {
        chain: certificate.clone(),
        key: Secret::new(key.serialize_pem().into_bytes()),
        roots: roots.iter().flat_map(|root| root.certificate.clone()).collect(),
        crl: Vec::new(),
        certificate,
    }
}

fn steady(material: &Material) -> Kept {
    let id = material.id().unwrap();
    let signers = BTreeMap::from([(id.clone(), material.clone())]);
    Kept { rotation: Rotation::steady(id), signers }
}

fn keep(act: Act) -> Kept {
    match act {
        Act::Keep(kept) => kept,
        other => panic!("{other:?}"),
    }
}

#[test]
fn in_an_empty_mesh_it_signs_from_the_beginning() {
    let plugged = intermediate(&root(), &[&root()]);
    assert_eq!(act(None, &plugged, now()).unwrap_err().piece, Piece::Certificate, "of another root");
    let of = root();
    let plugged = intermediate(&of, &[&of]);
    let kept = keep(act(None, &plugged, now()).unwrap());
    assert_eq!(*kept.rotation.phase(), Phase::Steady { signer: plugged.id().unwrap() });
    assert!(matches!(act(Some(&kept), &plugged, now()).unwrap(), Act::Nothing));
}

#[test]
fn another_intermediate_of_the_same_root_signs_at_once() {
    let of = root();
    let [first, second] = [(); 2].map(|()| intermediate(&of, &[&of]));
    let kept = keep(act(Some(&steady(&first)), &second, now()).unwrap());
    assert_eq!(*kept.rotation.phase(), Phase::Steady { signer: second.id().unwrap() });
    assert_eq!(kept.signers.len(), 1);
    assert!(kept.rotation.revision() > 1);
    // As does the first one of a root that signed itself so far.
    let kept = keep(act(Some(&steady(&of)), &first, now()).unwrap());
    assert_eq!(*kept.rotation.phase(), Phase::Steady { signer: first.id().unwrap() });
}

#[test]
fn one_of_another_root_is_changed_to_step_by_step() {
    let (before, of) = (root(), root());
    let plugged = intermediate(&of, &[&of]);
    let kept = keep(act(Some(&steady(&before)), &plugged, now()).unwrap());
    let (old, new) = (before.id().unwrap(), plugged.id().unwrap());
    assert_eq!(*kept.rotation.phase(), Phase::Distributing { old, new: new.clone() });
    assert_eq!(kept.signers.len(), 2);
    assert!(matches!(act(Some(&kept), &plugged, now()).unwrap(), Act::Nothing));
    let third = intermediate(&of, &[&of]);
    assert!(
        matches!(act(Some(&kept), &third, now()).unwrap(), Act::Wait { new: under_way } if under_way == new)
    );
}

#[test]
fn a_bundle_that_has_the_present_root_is_not_enough_where_workloads_lack_the_new_one() {
    let (before, of) = (root(), root());
    let plugged = intermediate(&of, &[&before, &of]);
    let kept = keep(act(Some(&steady(&before)), &plugged, now()).unwrap());
    assert!(matches!(kept.rotation.phase(), Phase::Distributing { .. }));
    // Once they have both, the other one's intermediate may sign.
    let first = intermediate(&before, &[&before, &of]);
    let kept = keep(act(Some(&steady(&first)), &plugged, now()).unwrap());
    assert!(matches!(kept.rotation.phase(), Phase::Steady { .. }));
}

#[test]
fn other_roots_under_the_same_certificate_are_taken() {
    let (of, more) = (root(), root());
    let first = intermediate(&of, &[&of]);
    let kept = steady(&first);
    let plugged = Material { roots: [of.certificate.clone(), more.certificate].concat(), ..first };
    let next = keep(act(Some(&kept), &plugged, now()).unwrap());
    assert_eq!(next.signers[&plugged.id().unwrap()].roots, plugged.roots);
    assert!(next.rotation.epoch() > kept.rotation.epoch());
}

#[test]
fn what_cannot_sign_is_refused_by_its_piece() {
    let of = root();
    let good = intermediate(&of, &[&of]);
    let other = intermediate(&of, &[&of]);
    let kept = steady(&good);
    for (piece, bad) in [
        (Piece::Certificate, Material { certificate: b"no".to_vec(), ..good.clone() }),
        (Piece::Key, Material { key: other.key, ..good.clone() }),
        (Piece::Roots, Material { roots: b"no".to_vec(), ..good.clone() }),
        (Piece::Chain, Material { chain: b"no".to_vec(), ..good.clone() }),
        (Piece::Crl, Material { crl: b"no".to_vec(), ..good.clone() }),
    ] {
        assert_eq!(act(Some(&kept), &bad, now()).unwrap_err().piece, piece);
    }
    let late = Time::from_unix(2_100_000_000);
    assert!(act(Some(&kept), &good, late).is_err(), "it has expired");
}
