//! Order, and each once.

use super::*;
use crate::tests::{authority, hours, now, root};
use crate::{Authority, Material};

#[test]
fn roots_keep_their_order_and_come_once() {
    let [a, b] = [root(), root()].map(|root| root.certificate);
    let of = |pems: &[&Vec<u8>]| {
        Bundle::read(&pems.iter().flat_map(|pem| pem.iter().copied()).collect::<Vec<_>>(), now())
    };
    let both = of(&[&b, &a, &b]).unwrap();
    assert_eq!(both.pem().into_bytes(), [b.clone(), a.clone()].concat());
    assert_eq!(of(&[&a]).unwrap().and(&both).pem().into_bytes(), [a, b].concat());
}

#[test]
fn a_bundle_that_holds_anything_but_roots_is_refused() {
    let fault = |pem: &[u8]| Bundle::read(pem, now()).unwrap_err().fault;
    assert_eq!(fault(b" \n"), Fault::Empty);
    assert_eq!(fault(b"hello"), Fault::NotPem);
    assert_eq!(fault(root().key.reveal()), Fault::NotPem);
    assert_eq!(fault(&[root().certificate, root().key.reveal().clone()].concat()), Fault::NotPem);
    assert_eq!(fault(to_pem("CERTIFICATE", b"hello").as_bytes()), Fault::NotX509(1));
    assert_eq!(fault(&vec![b'\n'; MAX_BYTES]), Fault::Empty);
    assert_eq!(fault(&vec![b'\n'; MAX_BYTES + 1]), Fault::TooLarge(MAX_BYTES + 1));
}

#[test]
fn an_expired_root_is_refused_by_name() {
    let old = Material::generate("cluster.local", hours(1), now().before(hours(2))).unwrap();
    assert!(
        matches!(Bundle::read(&old.certificate, now()).unwrap_err().fault, Fault::Expired(name, _) if name.contains("Meltemi root"))
    );
}

#[test]
fn while_roots_change_answers_carry_both() {
    let (old, new) = (authority(), authority());
    let both = old.bundle().pem() + &new.bundle().pem();
    let new_bundle = new.bundle().clone();
    let old: Authority = old.trusting(&new_bundle);
    let leaf = CertificateDer::from(vec![1]);
    assert_eq!(old.answer(&leaf).last(), Some(&both));
}
