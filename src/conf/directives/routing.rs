//! Rows that decide what happens to a request: rewrite, index, directory lists, and variables that
//! are computed from others.

use super::{
    ANY_NUMBER, Argument::*, COUNT, Contexts, Directive, HTTP_SERVER_LOCATION, TABLES_GROW, row,
};

const REWRITE: &str = "http_rewrite";
const MAP: &str = "http_map";
const REAL_IP: &str = "http_realip";
const AUTOINDEX: &str = "http_autoindex";
const SERVER: Contexts = Contexts::SERVER;
const LOCATION: Contexts = Contexts::LOCATION;
const IFS: Contexts = Contexts::IF_IN_SERVER.or(Contexts::IF_IN_LOCATION);
/// Where the rewrite module's steps may stand.
const STEPS: Contexts = SERVER.or(LOCATION).or(IFS);

/// Everywhere a request has a place, `limit_except` included.
const LIMITED: Contexts = HTTP_SERVER_LOCATION.or(Contexts::LIMIT_EXCEPT);

pub(super) const ROWS: &[Directive] = &[
    row("http_access", "allow", LIMITED, &[Free])
        .many()
        .help("lets an address, a network, `unix:` or `all` pass; the first rule that fits decides"),
    row("http_access", "deny", LIMITED, &[Free])
        .many()
        .help("refuses an address, a network, `unix:` or `all` with 403; the first rule that fits decides"),
    row(REAL_IP, "set_real_ip_from", HTTP_SERVER_LOCATION, &[Free])
        .many()
        .help("proxies believed who the client is: a network, name, provider, `file:`, `unix:`"),
    row(REAL_IP, "real_ip_header", HTTP_SERVER_LOCATION, &[Free])
        .default("X-Real-IP")
        .help("the field that names the client, or `proxy_protocol`"),
    row(REAL_IP, "real_ip_recursive", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("whether addresses of trusted proxies in the field are passed over"),
    row(
        REWRITE,
        "rewrite",
        STEPS,
        &[
            Regex,
            Template,
            OneOf(&["last", "break", "redirect", "permanent"]),
        ],
    )
    .takes(2, 3)
    .many()
    .help("replaces the URI when it matches; the flag says how to go on"),
    row(REWRITE, "return", STEPS, &[Free, Template])
        .takes(1, 2)
        .many()
        .help("answers at once with a code, and a text or the address of a redirect"),
    row(REWRITE, "break", STEPS, &[])
        .many()
        .help("ends this level's steps of set, rewrite, if and return"),
    row(REWRITE, "set", STEPS, &[Variable, Template])
        .many()
        .help("gives a variable a value"),
    row(REWRITE, "if", SERVER, &[Free])
        .takes(1, ANY_NUMBER)
        .block(Contexts::IF_IN_SERVER)
        .many()
        .help("what holds when a condition on a variable or a file is true"),
    row(REWRITE, "if", LOCATION, &[Free])
        .takes(1, ANY_NUMBER)
        .block(Contexts::IF_IN_LOCATION)
        .many()
        .help("what holds when a condition on a variable or a file is true"),
    row(
        REWRITE,
        "rewrite_log",
        HTTP_SERVER_LOCATION.or(IFS),
        &[Flag],
    )
    .default("off")
    .help("whether rewrites are written to the error log at level notice"),
    row(
        REWRITE,
        "uninitialized_variable_warn",
        HTTP_SERVER_LOCATION.or(IFS),
        &[Flag],
    )
    .default("on")
    .no_effect("a variable that no line defines is an error when the configuration is read")
    .help("whether using a variable that was never set is written to the error log"),
    row("http_index", "index", HTTP_SERVER_LOCATION, &[Template])
        .takes(1, ANY_NUMBER)
        .many()
        .default("index.html")
        .help("files that are tried for a URI that ends with a slash"),
    row(AUTOINDEX, "autoindex", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("whether directories without an index file are listed"),
    row(
        AUTOINDEX,
        "autoindex_exact_size",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("on")
    .help("whether lists show sizes to the byte rather than in K, M and G"),
    row(
        AUTOINDEX,
        "autoindex_format",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["html", "xml", "json", "jsonp"])],
    )
    .default("html")
    .help("format of lists of directories"),
    row(
        AUTOINDEX,
        "autoindex_localtime",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether lists show local time rather than UTC"),
    row(MAP, "map", Contexts::HTTP, &[Template, Variable])
        .block(Contexts::ENTRIES)
        .many()
        .help("a variable whose value is looked up by the value of others"),
    row(MAP, "map_hash_max_size", Contexts::HTTP, &[COUNT])
        .default("2048")
        .no_effect(TABLES_GROW)
        .help("largest size of the tables of maps"),
    row(MAP, "map_hash_bucket_size", Contexts::HTTP, &[COUNT])
        .default("64")
        .no_effect(TABLES_GROW)
        .help("size in bytes of one bucket of the tables of maps"),
    row("http_geo", "geo", Contexts::HTTP, &[Variable])
        .takes(1, 2)
        .block(Contexts::ENTRIES)
        .many()
        .help("a variable whose value depends on the client's address, or on another variable's"),
    row(
        "http_split_clients",
        "split_clients",
        Contexts::HTTP,
        &[Template, Variable],
    )
    .block(Contexts::ENTRIES)
    .many()
    .help("a variable whose value is drawn by shares, always the same for the same text"),
];
