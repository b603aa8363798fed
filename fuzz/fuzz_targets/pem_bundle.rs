//! PEM of an operator's Secret or folder: roots, the chain to them, revocation lists, the certificate that signs and its key.
//!
//! Must hold: no panic; an error says what is wrong; roots that are taken are taken again, and alike; what is loaded beside odd pieces
//! still verifies to its roots (that it does is tried by the load itself).
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use meltemi_ca::{Authority, Bundle, Material, ROOT_LIFE, Time};
use meltemi_names::Secret;

const NOW: Time = Time::from_unix(1_800_000_000);

static GOOD: LazyLock<Material> =
    LazyLock::new(|| match Material::generate("cluster.local", ROOT_LIFE, NOW) {
        Ok(material) => material,
        Err(error) => panic!("the target's own root: {error}"),
    });

fuzz_target!(|data: &[u8]| {
    match Bundle::read(data, NOW) {
        Ok(bundle) => {
            assert!(!bundle.roots().is_empty());
            assert_eq!(Bundle::read(bundle.pem().as_bytes(), NOW), Ok(bundle));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let odd = || data.to_vec();
    let pieces = [
        Material { chain: odd(), ..GOOD.clone() },
        Material { roots: odd(), ..GOOD.clone() },
        Material { crl: odd(), ..GOOD.clone() },
        Material { certificate: odd(), ..GOOD.clone() },
        Material { key: Secret::new(odd()), ..GOOD.clone() },
        // All of it from elsewhere: one text with the certificate and its key.
        Material {
            certificate: odd(),
            key: Secret::new(odd()),
            ..Material::root(Vec::new(), Secret::new(Vec::new()))
        },
    ];
    for material in pieces {
        match Authority::load(&material, NOW) {
            Ok(authority) => assert!(!authority.bundle().roots().is_empty() && NOW < authority.not_after()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
