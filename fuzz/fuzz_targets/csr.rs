//! A request for a certificate, as PEM and as DER: what anybody who reaches the TLS port may send.
//!
//! Must hold: no panic; an error says what is wrong; what is taken as DER is taken as PEM, and alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_ca::Csr;

fuzz_target!(|data: &[u8]| {
    for read in [Csr::from_der(data), Csr::from_pem(&String::from_utf8_lossy(data))] {
        if let Err(error) = read {
            assert!(!error.to_string().is_empty());
        }
    }
});
