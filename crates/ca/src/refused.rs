//! What is wrong with material that was given to sign with, and which piece it is.
//!
//! The pieces are called as in Istio's Secrets, which is where an operator looks for them.

use crate::time::Time;

/// One piece of the material.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The certificate that signs.
    Certificate,
    /// Its key.
    Key,
    /// What leads from it to a root.
    Chain,
    /// The roots.
    Roots,
    /// The revocation lists.
    Crl,
}

impl std::fmt::Display for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate => "ca-cert.pem",
            Self::Key => "ca-key.pem",
            Self::Chain => "cert-chain.pem",
            Self::Roots => "root-cert.pem",
            Self::Crl => "ca-crl.pem",
        })
    }
}

/// Why material is not taken; for the operator to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{piece}: {fault}")]
pub struct Refused {
    /// Where.
    pub piece: Piece,
    /// What.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is more of it than is read.
    #[error("{0} bytes, and at most {max} are read", max = crate::bundle::MAX_BYTES)]
    TooLarge(usize),
    /// The text is not PEM.
    #[error("is not PEM")]
    NotPem,
    /// Nothing of the kind is in it.
    #[error("holds none")]
    Empty,
    /// One is wanted, and there are more.
    #[error("holds {0} certificates, and one is wanted")]
    NotOne(usize),
    /// The PEM holds something else.
    #[error("number {0} in it cannot be read as X.509")]
    NotX509(usize),
    /// A key that cannot sign here.
    #[error(
        "holds no key of the kinds P-256, P-384, RSA (2048 bits and more) or Ed25519, as PKCS#8, PKCS#1 or SEC1"
    )]
    KeyUnsupported,
    /// The key belongs to another certificate.
    #[error("is not the key of ca-cert.pem")]
    KeyMismatch,
    /// A certificate of a workload or a server.
    #[error("`{0}` is not a CA (basicConstraints lacks CA:TRUE)")]
    NotCa(String),
    /// A CA that may not sign certificates.
    #[error("`{0}` may not sign certificates (keyUsage lacks keyCertSign)")]
    MayNotSign(String),
    /// Not yet valid.
    #[error("`{0}` is valid only from {1}")]
    NotYet(String, Time),
    /// No longer valid.
    #[error("`{0}` expired at {1}")]
    Expired(String, Time),
    /// What it signs would not verify against the roots.
    #[error("what it signs does not verify to a root in root-cert.pem: {0}")]
    Untrusted(String),
    /// A certificate whose name cannot be written again.
    #[error(
        "the name `{0}` cannot be an issuer's here (an element of several attributes, or of an unusual type)"
    )]
    Name(String),
    /// A CA of the chain is without a revocation list, and Envoy wants one for each.
    #[error("no list in it is signed by `{0}`, and each certificate of the chain wants one")]
    NoCrlOf(String),
    /// Random numbers or signing failed on this machine.
    #[error("signing failed on this machine: {0}")]
    Machine(String),
}

impl Fault {
    pub(crate) fn of(self, piece: Piece) -> Refused {
        Refused { piece, fault: self }
    }
}
