//! Material that is as it must be, and each way in which it may not be.

use tempfile::TempDir;

use super::*;
use crate::csr::Csr;
use crate::tests::{KEYS, authority, hours, intermediate, must, now, request, reviews, root};

fn refused(material: &Material) -> Refused {
    Authority::load(material, now()).map(|authority| authority.id).unwrap_err()
}

fn p256() -> (TempDir, Material) {
    let folder = TempDir::new().unwrap();
    let material = intermediate(folder.path(), KEYS[0].1);
    (folder, material)
}

#[test]
fn a_root_of_our_own_answers_with_itself_as_the_only_root() {
    let (root, folder) = (root(), TempDir::new().unwrap());
    let authority = Authority::load(&root, now()).unwrap();
    let csr = Csr::from_pem(&request(folder.path(), KEYS[0].1)).unwrap();
    let issued = issue(&authority, &csr, &reviews(), hours(1), now()).unwrap();
    let answer = authority.answer(&issued.certificate);
    assert_eq!(answer.len(), 2);
    assert_eq!(answer[1].as_bytes(), root.certificate);
    assert!(
        answer[0].starts_with("-----BEGIN CERTIFICATE-----\n")
            && answer[0].ends_with("-----END CERTIFICATE-----\n")
    );
}

#[test]
fn a_root_may_sign_certificates_for_ten_years_and_has_a_name_of_its_own() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("root.pem"), root().certificate).unwrap();
    let text = must(folder.path(), &["x509", "-in", "root.pem", "-noout", "-text"]);
    assert!(text.contains("CA:TRUE") && text.contains("Certificate Sign, CRL Sign"), "{text}");
    assert!(text.contains("O = cluster.local, CN = Meltemi root ") && text.contains("prime256v1"), "{text}");
    must(folder.path(), &["verify", "-x509_strict", "-CAfile", "root.pem", "root.pem"]);
    assert!(authority().not_after().until(now().after(ROOT_LIFE)) < Duration::from_secs(60));
    assert!(authority().not_after() <= now().after(ROOT_LIFE));
    assert_ne!(root().certificate, root().certificate);
}

#[test]
fn keys_are_taken_as_pkcs1_and_sec1_too() {
    let folder = TempDir::new().unwrap();
    for (kind, how) in &KEYS[..3] {
        let mut material = intermediate(folder.path(), how);
        must(folder.path(), &["pkey", "-in", "ca-key.pem", "-traditional", "-out", "old.pem"]);
        let key = std::fs::read_to_string(folder.path().join("old.pem")).unwrap();
        assert!(key.contains("BEGIN EC PRIVATE KEY") || key.contains("BEGIN RSA PRIVATE KEY"), "{kind:?}");
        material.key = Secret::new(key.into_bytes());
        assert!(Authority::load(&material, now()).is_ok(), "{kind:?}");
    }
}

#[test]
fn a_chain_that_lacks_the_intermediate_itself_gets_it_and_roots_come_only_last() {
    let (_folder, mut material) = p256();
    let leaf = CertificateDer::from(vec![1]);
    let whole = Authority::load(&material, now()).unwrap().answer(&leaf);
    material.chain = Vec::new();
    assert_eq!(Authority::load(&material, now()).unwrap().answer(&leaf), whole);
    material.chain = [material.certificate.clone(), material.roots.clone()].concat();
    assert_eq!(Authority::load(&material, now()).unwrap().answer(&leaf), whole);
}

#[test]
fn what_is_wrong_is_named_with_its_piece() {
    let (_folder, good) = p256();
    let with = |change: &dyn Fn(&mut Material)| {
        let mut material = good.clone();
        change(&mut material);
        let Refused { piece, fault } = refused(&material);
        (piece, fault)
    };
    assert_eq!(with(&|it| it.certificate.clear()), (Piece::Certificate, Fault::Empty));
    assert_eq!(with(&|it| it.certificate = b"hello".to_vec()), (Piece::Certificate, Fault::NotPem));
    assert_eq!(with(&|it| it.certificate = it.certificate.repeat(2)), (Piece::Certificate, Fault::NotOne(2)));
    assert_eq!(with(&|it| it.key = Secret::new(b"hello".to_vec())), (Piece::Key, Fault::KeyUnsupported));
    assert_eq!(with(&|it| it.key = root().key), (Piece::Key, Fault::KeyMismatch));
    assert_eq!(with(&|it| it.chain = b"hello".to_vec()), (Piece::Chain, Fault::NotPem));
    assert_eq!(with(&|it| it.roots = b"hello".to_vec()), (Piece::Roots, Fault::NotPem));
    assert!(matches!(with(&|it| it.roots = root().certificate), (Piece::Certificate, Fault::Untrusted(_))));
    assert_eq!(with(&|it| it.roots.clear()), (Piece::Roots, Fault::Empty), "only a root is its own root");
    assert_eq!(with(&|it| it.crl = b"hello".to_vec()), (Piece::Crl, Fault::NotPem));
}

#[test]
fn expired_and_future_material_is_refused() {
    let root = root();
    let late = Authority::load(&root, now().after(ROOT_LIFE + hours(1))).unwrap_err();
    assert!(matches!(late, Refused { piece: Piece::Certificate, fault: Fault::Expired(..) }), "{late}");
    let early = Authority::load(&root, now().before(hours(1))).unwrap_err();
    assert!(matches!(early, Refused { piece: Piece::Certificate, fault: Fault::NotYet(..) }), "{early}");
    let (_folder, good) = p256();
    // The intermediate has 20 days, its root 30.
    assert!(Authority::load(&good, now().after(hours(19 * 24))).is_ok());
    let late = Authority::load(&good, now().after(hours(21 * 24))).unwrap_err();
    assert_eq!(late.piece, Piece::Certificate);
}

#[test]
fn a_certificate_that_may_not_sign_is_refused() {
    let folder = TempDir::new().unwrap();
    let made = |extensions: &[&str]| {
        let usual = ["req", "-x509", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/O=Shop"];
        must(folder.path(), &[&usual[..], KEYS[0].1, extensions].concat());
        let read = |name| std::fs::read(folder.path().join(name)).unwrap();
        refused(&Material::root(read("cert.pem"), Secret::new(read("key.pem")))).fault
    };
    let ca = |value| ["-addext", value];
    // `req -x509` makes a CA by its usual configuration, so that only this is otherwise.
    assert!(
        matches!(made(&ca("keyUsage=critical,digitalSignature")), Fault::MayNotSign(name) if name == "O=Shop")
    );
    let config = folder.path().join("plain.cnf");
    std::fs::write(
        &config,
        "[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    assert!(matches!(made(&["-config", "plain.cnf"]), Fault::NotCa(name) if name == "O=Shop"));
}

#[test]
fn a_name_of_several_attributes_in_one_element_is_refused_and_never_a_panic() {
    let folder = TempDir::new().unwrap();
    let usual =
        ["req", "-x509", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/O=Shop+CN=Mesh"];
    must(folder.path(), &[&usual[..], KEYS[0].1].concat());
    let read = |name| std::fs::read(folder.path().join(name)).unwrap();
    let refused = refused(&Material::root(read("cert.pem"), Secret::new(read("key.pem"))));
    assert!(matches!(refused, Refused { piece: Piece::Certificate, fault: Fault::Name(_) }), "{refused}");
}

#[test]
fn revocation_lists_are_wanted_of_each_certificate_of_the_chain_or_of_none() {
    let (folder, mut material) = p256();
    let list = |ca: &str, key: &str| {
        std::fs::write(folder.path().join("index"), "").unwrap();
        let config = "[ca]\ndefault_ca=it\n[it]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=10\n";
        std::fs::write(folder.path().join("ca.cnf"), config).unwrap();
        must(
            folder.path(),
            &["ca", "-gencrl", "-config", "ca.cnf", "-cert", ca, "-keyfile", key, "-out", "crl.pem"],
        );
        std::fs::read(folder.path().join("crl.pem")).unwrap()
    };
    let [ours, roots] = [list("ca-cert.pem", "ca-key.pem"), list("root-cert.pem", "root-key.pem")];
    material.crl = [ours.clone(), roots.clone()].concat();
    let authority = Authority::load(&material, now()).unwrap();
    let both = authority.bundle().crl();
    assert_eq!(both.as_bytes(), material.crl);
    // Beside those of another authority each list is still a block of its own, and there once.
    material.crl.clone_from(&ours);
    let other = Authority::load(&material, now()).unwrap().bundle().clone();
    assert_eq!(other.clone().and(authority.bundle()).crl(), both);
    assert_eq!(authority.trusting(&other).bundle().crl(), both);
    material.crl = roots;
    assert_eq!(refused(&material), Fault::NoCrlOf("O=Shop, CN=Mesh".to_owned()).of(Piece::Crl));
}

#[test]
fn nothing_secret_is_printed() {
    let root = root();
    let key = String::from_utf8(root.key.reveal().clone()).unwrap();
    let line = key.lines().nth(1).unwrap();
    let printed = format!("{root:?} {:?}", Authority::load(&root, now()).unwrap());
    assert!(!printed.contains(line) && printed.contains("<redacted>"));
}
