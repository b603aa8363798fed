//! The form of the Secret: what a mesh of Istio's has in it, and beside that what a change of signers needs. Pure.
//!
//! Istio's keys say what signs now, so that a mesh may come here with its root and go back with it; ours say what else is trusted, and
//! until when it signed. Who replaces only Istio's keys is noticed: under the same key that is Istio's own renewal of its root
//! (istio: security/pkg/pki/ca/selfsignedcarootcertrotator.go); another key is refused, since nobody trusts it yet.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use meltemi_ca::keep::Kept;
use meltemi_ca::{Material, Refused, Rotation, SignerId};
use meltemi_names::Secret;

/// What a Secret holds.
pub(crate) type Data = BTreeMap<String, ByteString>;

/// Istio's name for it.
pub(crate) const NAME: &str = "istio-ca-secret";

/// Istio's type of it.
pub(crate) const TYPE: &str = "istio.io/ca-root";

pub(super) const CERTIFICATE: &str = "ca-cert.pem";
pub(super) const KEY: &str = "ca-key.pem";
pub(super) const CHAIN: &str = "cert-chain.pem";
pub(super) const ROOTS: &str = "root-cert.pem";
/// Istio writes it empty.
const UNUSED: &str = "key.pem";
/// The state of the change of signers.
const STATE: &str = "meltemi-rotation.json";

/// Why a Secret's content is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// A piece is not there, or empty.
    #[error("`{0}` is missing")]
    Missing(String),
    /// A piece cannot be what it should.
    #[error(transparent)]
    Piece(#[from] Refused),
    /// Our own state is none.
    #[error("`{STATE}` cannot be read: {0}; restore the Secret from a copy")]
    State(String),
    /// Somebody put another signer in its place.
    #[error(
        "`{CERTIFICATE}` is {found}, and `{STATE}` says that {signer} signs: workloads do not trust another key yet; put the former \
         pieces back, or plug the new ones in as Secret `cacerts`, which changes what signs step by step"
    )]
    Another {
        /// What is there.
        found: SignerId,
        /// What should be.
        signer: SignerId,
    },
}

fn bytes(data: &Data, key: &str) -> Vec<u8> {
    data.get(key).map(|value| value.0.clone()).unwrap_or_default()
}

pub(super) fn needed(data: &Data, key: &str) -> Result<Vec<u8>, Wrong> {
    let found = bytes(data, key);
    if found.trim_ascii().is_empty() { Err(Wrong::Missing(key.to_owned())) } else { Ok(found) }
}

/// Roots, or nothing where they are the certificate itself.
fn beside(certificate: &[u8], roots: Vec<u8>) -> Vec<u8> {
    if roots.trim_ascii() == certificate.trim_ascii() { Vec::new() } else { roots }
}

/// The name of a piece of a signer.
fn piece(id: &SignerId, what: &str) -> String {
    format!("{id}-{what}.pem")
}

/// Whether a key of the Secret is ours.
fn is_ours(key: &str) -> bool {
    let of_signer = || {
        let (id, what) = key.strip_suffix(".pem")?.split_once('-')?;
        let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(is_id && ["cert", "key", "chain", "roots", "crl"].contains(&what))
    };
    key == STATE || of_signer().unwrap_or_default()
}

/// Reads it.
pub(crate) fn decode(data: &Data) -> Result<Kept, Wrong> {
    let certificate = needed(data, CERTIFICATE)?;
    let present = Material {
        key: Secret::new(needed(data, KEY)?),
        chain: bytes(data, CHAIN),
        roots: beside(&certificate, bytes(data, ROOTS)),
        crl: Vec::new(),
        certificate,
    };
    let id = present.id()?;
    if !data.contains_key(STATE) {
        let rotation = Rotation::steady(id.clone());
        return Ok(Kept { rotation, signers: BTreeMap::from([(id, present)]) });
    }
    let rotation: Rotation =
        serde_json::from_slice(&bytes(data, STATE)).map_err(|error| Wrong::State(error.to_string()))?;
    let signer = rotation.signer().clone();
    let mut signers = BTreeMap::new();
    for trusted in rotation.trusted() {
        let key = if *trusted == signer { needed(data, KEY)? } else { needed(data, &piece(trusted, "key"))? };
        let material = Material {
            certificate: needed(data, &piece(trusted, "cert"))?,
            key: Secret::new(key),
            chain: bytes(data, &piece(trusted, "chain")),
            roots: bytes(data, &piece(trusted, "roots")),
            crl: bytes(data, &piece(trusted, "crl")),
        };
        signers.insert(trusted.clone(), material);
    }
    if id == signer {
        return Ok(Kept { rotation, signers });
    }
    let before = signers.remove(&signer).filter(|before| before.is_renewed_by(&present.certificate));
    let Some(before) = before else { return Err(Wrong::Another { found: id, signer }) };
    // While roots change, those of both are in Istio's key; this one's own are what it had.
    let roots = if before.roots.is_empty() { Vec::new() } else { present.roots };
    let rotation = rotation.replaced(&signer, &id);
    signers.insert(id, Material { roots, crl: before.crl, ..present });
    Ok(Kept { rotation, signers })
}

/// Writes no more than the state of the change of signers, beside what cannot be used.
pub(super) fn encode_state(kept: &Kept, before: &Data) -> Result<Data, Wrong> {
    let mut data = before.clone();
    data.insert(STATE.to_owned(), ByteString(state(kept)?));
    Ok(data)
}

fn state(kept: &Kept) -> Result<Vec<u8>, Wrong> {
    serde_json::to_vec(&kept.rotation).map_err(|error| Wrong::State(error.to_string()))
}

/// Whether what is there may take the place of what is in force: it has our state, or at least the same key.
pub(super) fn follows(found: &Kept, in_force: &Kept, data: &Data) -> Result<(), Wrong> {
    let (signer, present) = (in_force.rotation.signer(), found.rotation.signer());
    if data.contains_key(STATE) || signer == present {
        return Ok(());
    }
    let before = in_force.signers.get(signer);
    match found.signers.get(present) {
        Some(material) if before.is_some_and(|before| before.is_renewed_by(&material.certificate)) => Ok(()),
        _ => Err(Wrong::Another { found: present.clone(), signer: signer.clone() }),
    }
}

/// Writes it, in the place of `before`, of which what is neither Istio's nor ours stays.
pub(crate) fn encode(kept: &Kept, before: &Data) -> Result<Data, Wrong> {
    let mut data: Data = before
        .iter()
        .filter(|(key, _)| !is_ours(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut put = |key: String, value: &[u8]| {
        data.insert(key, ByteString(value.to_vec()));
    };
    let signer = kept.rotation.signer();
    let mut roots: Vec<&[u8]> = Vec::new();
    for id in kept.rotation.trusted() {
        let material = kept.signers.get(id).ok_or_else(|| Wrong::Missing(piece(id, "cert")))?;
        let own: &[u8] =
            if material.roots.trim_ascii().is_empty() { &material.certificate } else { &material.roots };
        if !roots.iter().any(|root| root.trim_ascii() == own.trim_ascii()) {
            roots.push(own);
        }
        put(piece(id, "cert"), &material.certificate);
        if id == signer {
            put(CERTIFICATE.to_owned(), &material.certificate);
            put(KEY.to_owned(), material.key.reveal());
            put(CHAIN.to_owned(), &material.chain);
        } else {
            put(piece(id, "key"), material.key.reveal());
        }
        for (what, value) in [("chain", &material.chain), ("roots", &material.roots), ("crl", &material.crl)]
        {
            if !value.is_empty() {
                put(piece(id, what), value);
            }
        }
    }
    let mut bundle = Vec::new();
    for root in roots {
        bundle.extend_from_slice(root.trim_ascii());
        bundle.push(b'\n');
    }
    put(ROOTS.to_owned(), &bundle);
    put(STATE.to_owned(), &state(kept)?);
    data.entry(UNUSED.to_owned()).or_insert_with(|| ByteString(Vec::new()));
    Ok(data)
}

#[cfg(test)]
mod tests;
