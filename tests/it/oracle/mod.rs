//! The differential oracle: nginx and openclaw load the same file, get the same requests, and must
//! answer the same, send the same upstream and log the same.
//!
//! A case is data in `tests/oracle/` (see [`case`]); what may differ is one list with reasons
//! ([`deviations`]). Each case is a test, so one can be run alone: `cargo test --test it location_prefix`.
//! Environment variables serve those who work on a case:
//! - `OPENCLAW_UNDER_TEST=/usr/sbin/nginx` compares nginx with itself: it must find nothing;
//! - `OPENCLAW_ORACLE_TRANSCRIPTS=/tmp/transcripts` writes down what the oracle said in each case;
//! - `OPENCLAW_ORACLE=/path/to/nginx` takes another nginx for the oracle.

mod case;
mod deviations;
mod normalise;
mod requests;
mod run;

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::server::{oracle, under_test};
use case::{Case, directory};

fn check(name: &str) {
    let case = Case::load(name);
    let (differences, transcript) = run::differences(&case, &under_test(), &case.conf);
    if let Some(directory) = std::env::var_os("OPENCLAW_ORACLE_TRANSCRIPTS") {
        let path = Path::new(&directory).join(format!("{name}.txt"));
        std::fs::write(path, transcript).expect("the directory for transcripts exists");
    }
    assert!(
        differences.is_empty(),
        "{}",
        run::report(name, &differences)
    );
}

/// One test for each case; the list and the directory must agree.
macro_rules! cases {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        const CASES: &[&str] = &[$(stringify!($name)),*];
    };
}

cases! {
    absolute_form
    access_rules
    add_header
    alias
    auth_basic
    auth_request
    autoindex_formats
    autoindex_html
    bad_requests
    body_limits
    brotli
    conditional
    error_page
    error_page_intercept
    error_page_recursive
    expires
    geo_addresses
    gunzip
    gzip
    header_limits
    headers_more
    host_field
    http_versions
    if_conditions
    if_content
    index_files
    internal_locations
    internal_redirect_bodies
    keep_alive
    language
    limit_except
    limit_rate
    limit_requests
    location_named
    location_nested
    location_normalised
    location_prefix
    location_regex
    location_trailing_slash
    location_unmerged
    log_conditions
    log_formats
    map_regex
    map_values
    methods
    mime_types
    mirror
    pipelining
    proxy_cookies
    proxy_errors
    proxy_framing
    proxy_hash
    proxy_http10_upstream
    proxy_next_upstream
    proxy_pass_forms
    proxy_protocol
    proxy_redirect
    proxy_request_bodies
    proxy_request_fields
    proxy_response_fields
    proxy_set_header
    proxy_store
    proxy_upstreams
    proxy_websocket
    ranges
    real_ip
    redirects
    repeated_fields
    return_codes
    rewrite_args
    rewrite_flags
    rewrite_query
    rewrite_server
    root_directive
    secure_link
    server_name_default
    server_name_exact
    server_name_regex
    server_name_wildcard
    set_variables
    smoke
    split_clients
    static_files
    stub_status
    sub_filter
    try_files
    valid_referers
    variables_request
    variables_response
}

#[test]
fn every_case_on_disk_is_a_test() {
    let entries = std::fs::read_dir(directory()).expect("the cases are part of the sources");
    let on_disk: BTreeSet<String> = entries
        .filter_map(|entry| {
            let name = entry.expect("a directory of ours").file_name();
            Some(name.to_str()?.strip_suffix(".conf")?.to_owned())
        })
        .collect();
    let listed: BTreeSet<String> = CASES.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(listed, on_disk);
    assert!(CASES.is_sorted(), "the list is in order");
}

#[test]
fn every_named_deviation_is_one_of_a_case() {
    let named: BTreeSet<&str> = deviations::NAMED.iter().map(|each| each.id).collect();
    let cases: Vec<Case> = CASES.iter().map(|name| Case::load(name)).collect();
    let used: BTreeSet<&str> = cases
        .iter()
        .flat_map(|case| &case.requests.scripts)
        .filter_map(|script| Some(script.deviation.as_ref()?.deviation.as_str()))
        .collect();
    assert_eq!(named, used);
}

/// The oracle is only worth what it notices: nginx against itself, with one change on our side.
mod notices {
    use super::*;

    const CONF: &str = r#"
        events {}
        http {
            %COMMON%
            log_format own '$request $status';
            server {
                listen %LISTEN1%;
                location /text { return 200 "same\n"; }
                location /field { add_header X-Name same; return 204; }
                location /moved { return 301 /there; }
                location /passed/ {
                    proxy_set_header X-Name same;
                    proxy_set_header Cookie "";
                    proxy_pass http://%BACKEND1%/;
                }
                location /file { root www; expires 1h; }
                location /logged { access_log logs/own.log own; return 204; }
                keepalive_requests 1000;
            }
        }
    "#;

    fn found(from: &str, to: &str) -> Vec<run::Difference> {
        assert!(CONF.contains(from), "`{from}` is in the configuration");
        let case = Case {
            conf: CONF.to_owned(),
            requests: requests::parse(
                "GET /{text,field,moved,file,logged,passed/a?b} Cookie: a=b
                 HEAD /{text,missing}
                 POST /passed/ <<< body",
            ),
            files: "== www/file\ncontent\n".to_owned(),
        };
        run::differences(&case, &oracle(), &CONF.replace(from, to)).0
    }

    #[test]
    fn nothing_where_nothing_differs() {
        let differences = found("same", "same");
        assert!(
            differences.is_empty(),
            "{}",
            run::report("nothing", &differences)
        );
    }

    /// Each change shows in the requests it concerns and nowhere else.
    #[test]
    fn every_kind_of_change() {
        for (from, to, concerned) in [
            ("\"same\\n\"", "\"other\\n\"", "GET /text"),
            ("add_header X-Name", "add_header x-name", "GET /field"),
            ("X-Name same; return", "X-Name other; return", "GET /field"),
            ("return 301", "return 302", "GET /moved"),
            ("/there", "/elsewhere", "GET /moved"),
            (
                "proxy_set_header X-Name same",
                "proxy_set_header X-Name other",
                "GET /passed",
            ),
            (
                "proxy_set_header X-Name",
                "proxy_set_header x-name",
                "GET /passed",
            ),
            ("proxy_set_header Cookie \"\";", "", "GET /passed"),
            ("%BACKEND1%/;", "%BACKEND1%;", "GET /passed"),
            ("expires 1h", "expires 2h", "GET /file"),
            ("'$request $status'", "'$status $request'", "logs/own.log"),
            (
                "keepalive_requests 1000",
                "keepalive_requests 1",
                "GET /text",
            ),
        ] {
            let differences = found(from, to);
            let seen: Vec<&str> = differences.iter().map(|each| each.what.as_str()).collect();
            let told = seen.iter().any(|what| what.starts_with(concerned));
            assert!(told, "`{from}` to `{to}`: {seen:?}");
        }
    }
}
