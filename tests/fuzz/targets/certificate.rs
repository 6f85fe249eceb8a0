//! Files of certificates, keys and containers: whatever they hold, it is refused in words or loaded,
//! and what was loaded is written and loaded again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::tls::facts::Facts;
use openclaw::tls::material::{self, Source};
use openclaw::tls::presented::{self, Presented};
use openclaw::tls::{pem, pfx};

fuzz_target!(|bytes: &[u8]| {
    let source = |bytes| Source::Text {
        name: "fuzz",
        bytes,
    };
    match material::load_from(source(bytes), source(bytes), None) {
        Ok(material) => {
            let (chain, key) = (material.chain_pem(), material.key_pem());
            let again = material::load_from(source(chain.as_bytes()), source(key.as_bytes()), None)
                .expect("what was loaded loads again");
            assert_eq!(again.chain, material.chain);
            assert_eq!(again.facts, material.facts);
        }
        Err(error) => {
            let _ = (error.to_string(), error.hint());
        }
    }
    for section in pem::sections(bytes).flatten() {
        certificate(&section.der);
        let text = pem::write(section.label, &section.der);
        let again = pem::sections(text.as_bytes()).next();
        let again = again.expect("a section").expect("it is well");
        assert_eq!(again.der, section.der);
    }
    certificate(bytes);
    let _ = pfx::read(bytes, "first");
});

fn certificate(der: &[u8]) {
    if let Some(facts) = Facts::read(der) {
        for name in &facts.dns_names {
            facts.covers(name);
        }
    }
    if let Some(presented) = Presented::read(der) {
        let ascii = [
            presented.subject(),
            presented.issuer(),
            presented.subject_legacy(),
            presented.issuer_legacy(),
            presented.serial(),
            presented.not_before(),
            presented.not_after(),
            presented::escaped(der),
        ];
        for text in ascii {
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        assert!(presented.days_left(0) >= 0);
    }
}
