//! The language in which OpenSSL names cipher suites and groups (`ssl_ciphers`, `Ciphersuites`,
//! `ssl_ecdh_curve`).
//!
//! Owns what each word means for the suites that there are here. Words that OpenSSL knows for others
//! select nothing and are no mistake: a list is written for many programs. What nobody knows is told
//! by whoever asked.

use crate::conf::typed::tls::{Group, Suite};

/// What a list comes to.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Suites of TLS 1.2, in the order of preference.
    pub tls12: Vec<Suite>,
    /// Suites of TLS 1.3 that it names, in its order; OpenSSL has them elsewhere and ignores them
    /// here, so that a list without any says nothing about them.
    pub tls13: Vec<Suite>,
    /// Words that OpenSSL does not know either.
    pub unknown: Vec<Box<str>>,
}

/// Suites of TLS 1.2 in OpenSSL's order.
const TLS12: [Suite; 6] = [
    Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// Suites of TLS 1.3 in OpenSSL's order.
pub const TLS13: [Suite; 3] = [
    Suite::TLS13_AES_256_GCM_SHA384,
    Suite::TLS13_CHACHA20_POLY1305_SHA256,
    Suite::TLS13_AES_128_GCM_SHA256,
];

/// Reads a list for `ssl_ciphers` (OpenSSL `ssl_create_cipher_list`).
pub fn list(text: &str) -> Selection {
    let mut selection = Selection::default();
    // In the order in which they would be added; those that are in the list are marked.
    let mut order: Vec<(Suite, bool)> = TLS12.iter().map(|&suite| (suite, false)).collect();
    for (position, word) in text
        .split([':', ' ', ',', ';'])
        .filter(|word| !word.is_empty())
        .enumerate()
    {
        if let Some(command) = word.strip_prefix('@') {
            match command.strip_prefix("SECLEVEL=").map(str::parse::<u8>) {
                Some(Ok(level @ 0..=5)) => {
                    let least = [0, 0, 0, 0, 192, 256][usize::from(level)];
                    order.retain(|&(suite, _)| bits(suite) >= least);
                }
                None if command == "STRENGTH" => {
                    let (mut chosen, rest): (Vec<_>, Vec<_>) =
                        order.iter().copied().partition(|&(_, is_chosen)| is_chosen);
                    chosen.sort_by_key(|&(suite, _)| std::cmp::Reverse(bits(suite)));
                    order = rest.into_iter().chain(chosen).collect();
                }
                _ => selection.unknown.push(word.into()),
            }
            continue;
        }
        let (sign, names) = match word.as_bytes()[0] {
            sign @ (b'!' | b'-' | b'+') => (sign, &word[1..]),
            _ => (b' ', word),
        };
        if let Some(suite) = TLS13.iter().copied().find(|&suite| name(suite) == names) {
            match sign {
                b' ' if !selection.tls13.contains(&suite) => selection.tls13.push(suite),
                b'!' | b'-' => selection.tls13.retain(|&known| known != suite),
                _ => {}
            }
            continue;
        }
        if names == "DEFAULT" && position == 0 {
            order
                .iter_mut()
                .for_each(|(_, is_chosen)| *is_chosen = true);
            continue;
        }
        if !names.split('+').all(is_known) {
            selection.unknown.push(word.into());
            continue;
        }
        let is_meant = |suite| names.split('+').all(|name| matches(name, suite));
        match sign {
            b'!' => order.retain(|&(suite, _)| !is_meant(suite)),
            // What was taken out last would come back first.
            b'-' => {
                let (mut out, rest): (Vec<_>, Vec<_>) = order
                    .iter()
                    .copied()
                    .partition(|&(suite, is_chosen)| is_chosen && is_meant(suite));
                out.iter_mut().for_each(|(_, is_chosen)| *is_chosen = false);
                order = out.into_iter().chain(rest).collect();
            }
            _ => {
                let (mut moved, rest): (Vec<_>, Vec<_>) =
                    order.iter().copied().partition(|&(suite, is_chosen)| {
                        is_chosen == (sign == b'+') && is_meant(suite)
                    });
                moved
                    .iter_mut()
                    .for_each(|(_, is_chosen)| *is_chosen = true);
                order = rest.into_iter().chain(moved).collect();
            }
        }
    }
    selection.tls12 = order
        .into_iter()
        .filter_map(|(suite, is_chosen)| is_chosen.then_some(suite))
        .collect();
    selection
}

/// Reads the list of TLS 1.3 suites (`ssl_conf_command Ciphersuites`): names and what is no name.
pub fn ciphersuites(text: &str) -> (Vec<Suite>, Vec<Box<str>>) {
    let mut suites = Vec::new();
    let mut unknown = Vec::new();
    for word in text.split(':').filter(|word| !word.is_empty()) {
        match TLS13.iter().copied().find(|&suite| name(suite) == word) {
            Some(suite) if suites.contains(&suite) => {}
            Some(suite) => suites.push(suite),
            // These two are OpenSSL's too, and nobody misses them.
            None if matches!(word, "TLS_AES_128_CCM_SHA256" | "TLS_AES_128_CCM_8_SHA256") => {}
            None => unknown.push(word.into()),
        }
    }
    (suites, unknown)
}

/// Reads a list of groups (`ssl_ecdh_curve`); `auto` is what we offer by ourselves. Also what is known
/// to nobody, and what is known but not here.
pub fn groups(text: &str) -> (Vec<Group>, Vec<Box<str>>) {
    let mut groups = Vec::new();
    let mut unknown = Vec::new();
    for word in text.split(':').filter(|word| !word.is_empty()) {
        // OpenSSL 3.5: `?` if it exists, `*` for a key share, `/` between tuples, `-` to take out.
        for word in word.split('/') {
            let word = word.trim_start_matches(['?', '*']);
            let found: &[Group] = match word.to_ascii_lowercase().as_str() {
                "auto" | "default" => &Group::USUAL,
                "x25519mlkem768" => &[Group::X25519MlKem768],
                "secp256r1mlkem768" => &[Group::Secp256r1MlKem768],
                "x25519" => &[Group::X25519],
                "prime256v1" | "secp256r1" | "p-256" => &[Group::Secp256r1],
                "secp384r1" | "p-384" => &[Group::Secp384r1],
                _ => {
                    unknown.push(word.into());
                    continue;
                }
            };
            groups.extend_from_slice(found);
        }
    }
    let mut seen = Vec::with_capacity(groups.len());
    for group in groups {
        if !seen.contains(&group) {
            seen.push(group);
        }
    }
    (seen, unknown)
}

/// The strength of the encryption in bits.
fn bits(suite: Suite) -> u16 {
    match suite {
        Suite::TLS13_AES_128_GCM_SHA256
        | Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 128,
        _ => 256,
    }
}

/// OpenSSL's name of a suite.
fn name(suite: Suite) -> &'static str {
    match suite {
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
    }
}

/// Does a word select a suite?
fn matches(word: &str, suite: Suite) -> bool {
    let name = name(suite);
    let is_aes = name.contains("-AES");
    match word {
        "ALL" | "HIGH" | "TLSv1.2" => true,
        "kECDHE" | "kEECDH" | "ECDHE" | "EECDH" | "ECDH" => true,
        "aECDSA" | "ECDSA" => name.starts_with("ECDHE-ECDSA"),
        "aRSA" => name.starts_with("ECDHE-RSA"),
        "AES" | "AESGCM" => is_aes,
        "FIPS" => is_aes,
        "AES128" => is_aes && bits(suite) == 128,
        "AES256" => is_aes && bits(suite) == 256,
        "CHACHA20" => !is_aes,
        word => word == name || (is_registered(word) && registered_name(suite) == word),
    }
}

/// Is it the spelling of IANA's registry, which OpenSSL takes as well?
fn is_registered(word: &str) -> bool {
    word.starts_with("TLS_")
}

fn registered_name(suite: Suite) -> &'static str {
    match suite {
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
        }
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
        }
        _ => "",
    }
}

/// Words that stand for properties, and that OpenSSL knew once.
const ALIASES: &str = "ALL HIGH MEDIUM LOW EXP EXPORT EXPORT40 EXPORT56 COMPLEMENTOFALL \
    COMPLEMENTOFDEFAULT eNULL NULL aNULL kRSA aRSA RSA kEDH kDHE EDH DHE DH ADH kEECDH kECDHE EECDH \
    ECDHE ECDH AECDH aDSS DSS aECDSA ECDSA aDH kDH kDHr kDHd aECDH kECDH kECDHr kECDHe kPSK kECDHEPSK \
    kDHEPSK kRSAPSK aPSK PSK SRP kSRP aSRP aGOST aGOST01 aGOST12 kGOST GOST GOST94 GOST89MAC aKRB5 \
    kKRB5 KRB5 kFZA aFZA eFZA FZA SSLv2 SSLv3 TLSv1 TLSv1.0 TLSv1.2 AES AES128 AES256 AESGCM AESCCM \
    AESCCM8 ARIA ARIA128 ARIA256 ARIAGCM CAMELLIA CAMELLIA128 CAMELLIA256 CHACHA20 SEED IDEA RC2 RC4 \
    DES 3DES MD5 SHA SHA1 SHA256 SHA384 CBC FIPS";

/// Is a word known to OpenSSL, of this or an older version? Names of suites are built of parts, which
/// says more than a list of the three hundred that there were.
fn is_known(word: &str) -> bool {
    /// What the name of a suite ends with.
    const ENDS: [&str; 9] = [
        "-SHA",
        "-SHA256",
        "-SHA384",
        "-MD5",
        "-POLY1305",
        "-CCM",
        "-CCM8",
        "-GOST89",
        "-GOSTR3411",
    ];
    /// What stands before the end, in any number.
    const PARTS: &str = "ECDHE ECDH ECDSA RSA DHE EDH DSS ADH AECDH DH EXP EXP1024 KRB5 PSK SRP AES128 \
        AES256 GCM CBC CBC3 CHACHA20 ARIA128 ARIA256 CAMELLIA128 CAMELLIA256 SEED IDEA RC2 RC4 DES DES40 \
        DES3 NULL 3DES EDE 64 GOST2001 GOST2012 GOST94 MAGMA KUZNYECHIK OMAC CTR";
    if ALIASES.split(' ').any(|alias| alias == word) {
        return true;
    }
    if is_registered(word) {
        return word.contains("_WITH_") || word.starts_with("TLS_AES_128_CCM_");
    }
    ENDS.iter().any(|end| {
        word.strip_suffix(end).is_some_and(|rest| {
            rest.split('-')
                .all(|part| PARTS.split_ascii_whitespace().any(|known| known == part))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> String {
        let selection = list(text);
        let names: Vec<_> = selection.tls12.into_iter().map(name).collect();
        names.join(":")
    }

    /// What OpenSSL 3.0 selects with these lists, of the suites that exist here: the output of
    /// `openssl ciphers -s -tls1_2 LIST`.
    #[test]
    fn a_list_selects_what_openssl_selects_in_its_order() {
        const E256: &str = "ECDHE-ECDSA-AES256-GCM-SHA384";
        const R256: &str = "ECDHE-RSA-AES256-GCM-SHA384";
        const EC20: &str = "ECDHE-ECDSA-CHACHA20-POLY1305";
        const RC20: &str = "ECDHE-RSA-CHACHA20-POLY1305";
        const E128: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
        const R128: &str = "ECDHE-RSA-AES128-GCM-SHA256";
        let cases: &[(&str, &[&str])] = &[
            ("HIGH:!aNULL:!MD5", &[E256, R256, EC20, RC20, E128, R128]),
            ("DEFAULT", &[E256, R256, EC20, RC20, E128, R128]),
            ("DEFAULT:!AES256", &[EC20, RC20, E128, R128]),
            (
                "EECDH+CHACHA20:EECDH+AES128:EECDH+AES256",
                &[EC20, RC20, E128, R128, E256, R256],
            ),
            ("ECDHE+AESGCM:ECDHE+CHACHA20:!aECDSA", &[R256, R128, RC20]),
            (
                "AES128-SHA:DES-CBC3-SHA:!kRSA:ECDHE-RSA-AES128-GCM-SHA256",
                &[R128],
            ),
            ("ALL:+AES256", &[EC20, RC20, E128, R128, E256, R256]),
            ("ALL:-AES256:ALL", &[EC20, RC20, E128, R128, E256, R256]),
            (
                "AES128:CHACHA20:AES256:@STRENGTH",
                &[EC20, RC20, E256, R256, E128, R128],
            ),
            ("ALL:@SECLEVEL=4", &[E256, R256, EC20, RC20]),
            ("kEDH:RSA:PSK:eNULL", &[]),
            (
                "ECDHE-RSA-AES256-GCM-SHA384, ECDHE-RSA-AES128-GCM-SHA256",
                &[R256, R128],
            ),
            ("!ECDHE:ALL", &[]),
            ("AESGCM+aRSA+AES128", &[R128]),
            // Since 3.2.
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", &[R128]),
        ];
        for (text, expected) in cases {
            assert_eq!(names(text), expected.join(":"), "{text}");
            assert_eq!(list(text).unknown, [] as [Box<str>; 0], "{text}");
        }
    }

    #[test]
    fn words_of_openssl_are_known_and_others_are_not() {
        let text = "DHE-RSA-AES128-GCM-SHA256:DES-CBC3-SHA:ECDHE-ECDSA-AES256-CCM8:AES256-SHA:\
                    EXP-RC4-MD5:ECDHE-PSK-CHACHA20-POLY1305:!SEED";
        assert_eq!(list(text), Selection::default());
        let selection = list("HIHG:ECDHE-RSA-AES128-GCM-SHA265:!aNUL:@FAST:TLSv1.2");
        let unknown: Vec<_> = selection.unknown.iter().map(|word| &**word).collect();
        assert_eq!(
            unknown,
            ["HIHG", "ECDHE-RSA-AES128-GCM-SHA265", "!aNUL", "@FAST"]
        );
        assert_eq!(selection.tls12.len(), 6);
    }

    #[test]
    fn suites_of_tls_1_3_are_taken_by_their_names_only() {
        let selection = list("HIGH:!aNULL");
        assert!(selection.tls13.is_empty());
        let selection = list("TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:ECDHE+AESGCM");
        assert_eq!(
            selection.tls13,
            [
                Suite::TLS13_AES_128_GCM_SHA256,
                Suite::TLS13_AES_256_GCM_SHA384
            ]
        );
        let (suites, unknown) =
            ciphersuites("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES");
        assert_eq!(suites, [Suite::TLS13_CHACHA20_POLY1305_SHA256]);
        assert_eq!(unknown, ["TLS_AES".into()]);
    }

    #[test]
    fn groups_have_several_names_and_auto_is_ours() {
        let (found, unknown) = groups("X25519MLKEM768:X25519:P-256:prime256v1:secp521r1");
        assert_eq!(
            found,
            [Group::X25519MlKem768, Group::X25519, Group::Secp256r1]
        );
        assert_eq!(unknown, ["secp521r1".into()]);
        assert_eq!(groups("auto").0, Group::USUAL);
    }
}
