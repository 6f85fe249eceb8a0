//! The modules that `openclaw -V` names, in the form of nginx's `configure arguments:`.
//!
//! Owns the order and the defaults of nginx's build options; what is built in comes from the table of
//! directives. Invariant: no module is named by hand as present or absent.

use std::collections::HashSet;

use super::directives::{Directive, Support, all};

/// nginx's build options that tell this build from nginx's default one: `--with-…_module` for what is
/// here and not in a default build, `--without-…_module` for the opposite.
pub fn configure_arguments() -> String {
    arguments_for(all())
}

fn arguments_for(rows: impl Iterator<Item = &'static Directive>) -> String {
    let mut modules = HashSet::new();
    let mut has_cache = false;
    // A module all of whose directives are without effect is not there.
    for row in rows.filter(|row| row.support == Support::Full) {
        modules.insert(row.module);
        has_cache |= row.name == "proxy_cache";
    }
    let mut arguments = Vec::new();
    for module in OPTIONAL {
        if modules.contains(module) {
            arguments.push(format!("--with-{module}_module"));
        }
    }
    if !has_cache {
        arguments.push("--without-http-cache".to_owned());
    }
    for module in DEFAULT {
        if !modules.contains(module) {
            arguments.push(format!("--without-{module}_module"));
        }
    }
    for family in ["mail", "stream"] {
        if modules.contains(family) {
            arguments.push(format!("--with-{family}"));
        }
    }
    arguments.join(" ")
}

/// Not in nginx's default build, in the order of nginx's `auto/options`.
const OPTIONAL: &[&str] = &[
    "http_ssl",
    "http_v2",
    "http_v3",
    "http_realip",
    "http_addition",
    "http_xslt",
    "http_image_filter",
    "http_geoip",
    "http_sub",
    "http_dav",
    "http_flv",
    "http_mp4",
    "http_gunzip",
    "http_gzip_static",
    "http_auth_request",
    "http_random_index",
    "http_secure_link",
    "http_degradation",
    "http_slice",
    "http_stub_status",
];

/// In nginx's default build, in the order of nginx's `auto/options`.
const DEFAULT: &[&str] = &[
    "http_charset",
    "http_gzip",
    "http_ssi",
    "http_userid",
    "http_access",
    "http_auth_basic",
    "http_mirror",
    "http_autoindex",
    "http_geo",
    "http_map",
    "http_split_clients",
    "http_referer",
    "http_rewrite",
    "http_proxy",
    "http_fastcgi",
    "http_uwsgi",
    "http_scgi",
    "http_grpc",
    "http_memcached",
    "http_tunnel",
    "http_limit_conn",
    "http_limit_req",
    "http_empty_gif",
    "http_browser",
    "http_upstream_hash",
    "http_upstream_ip_hash",
    "http_upstream_least_conn",
    "http_upstream_least_time",
    "http_upstream_random",
    "http_upstream_keepalive",
    "http_upstream_zone",
    "http_upstream_sticky",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn has(arguments: &str, wanted: &str) -> bool {
        arguments.split(' ').any(|argument| argument == wanted)
    }

    #[test]
    fn a_module_with_directives_is_with_or_default_and_one_without_is_neither() {
        let arguments = configure_arguments();
        let full =
            |module: &str| all().any(|row| row.module == module && row.support == Support::Full);
        for module in OPTIONAL {
            let named = has(&arguments, &format!("--with-{module}_module"));
            assert_eq!(named, full(module), "{module}: {arguments}");
        }
        for module in DEFAULT {
            let named = has(&arguments, &format!("--without-{module}_module"));
            assert_eq!(named, !full(module), "{module}: {arguments}");
        }
    }

    #[test]
    fn the_engine_has_its_modules() {
        let arguments = configure_arguments();
        assert!(has(&arguments, "--with-http_v2_module"), "{arguments}");
        assert!(
            has(&arguments, "--with-http_stub_status_module"),
            "{arguments}"
        );
        for module in ["http_proxy", "http_rewrite", "http_map", "http_autoindex"] {
            assert!(!arguments.contains(module), "{arguments}");
        }
        assert!(
            has(&arguments, "--without-http_fastcgi_module"),
            "{arguments}"
        );
    }

    #[test]
    fn without_a_directive_nothing_is_built_in() {
        let arguments = arguments_for(std::iter::empty());
        assert!(!arguments.contains("--with-"), "{arguments}");
        assert!(
            has(&arguments, "--without-http_proxy_module"),
            "{arguments}"
        );
        assert!(has(&arguments, "--without-http-cache"), "{arguments}");
    }

    #[test]
    fn every_module_of_the_table_is_an_option_or_always_there() {
        const ALWAYS: &[&str] = &[
            "core",
            "http",
            "http_acme",
            "http_auth_jwt",
            "http_auth_require",
            "http_auto_ban",
            "http_core",
            "http_geoip2",
            "http_headers",
            "http_headers_more",
            "http_index",
            "http_llm",
            "http_log",
            "http_oidc",
            "http_upstream",
            "http_upstream_hc",
            "openclaw",
        ];
        for row in all() {
            assert!(
                ALWAYS.contains(&row.module)
                    || OPTIONAL.contains(&row.module)
                    || DEFAULT.contains(&row.module),
                "`{}` names the module `{}`",
                row.name,
                row.module
            );
        }
    }
}
