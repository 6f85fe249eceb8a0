//! Rows of nginx's `ngx_http_core_module`: servers, locations, requests, bodies, connections, files.

use super::{
    ANY_NUMBER, Argument, Argument::*, COUNT, Contexts, DIRECTORY_LEVEL, Directive, HTTP_SERVER,
    HTTP_SERVER_LOCATION, HTTP_TO_IF_IN_LOCATION, NO_LOW_WATER_MARK, NO_POOLS, POSITIVE,
    TABLES_GROW, row,
};

const CORE: &str = "http_core";
const HTTP: Contexts = Contexts::HTTP;
const SERVER: Contexts = Contexts::SERVER;
const LOCATION: Contexts = Contexts::LOCATION;

const NO_DIRECT_IO: &str = "files are always read through the page cache";
const NO_FILE_CACHE: &str = "every request looks at the file itself";
const OLD_BROWSERS: &str = "the browsers that need it are gone";

const METHODS: Argument = OneOf(&[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "MKCOL",
    "COPY",
    "MOVE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
]);

const LISTEN_PARAMETERS: Argument = Parameter(&[
    "default_server",
    "default",
    "ssl",
    "http2",
    "quic",
    "proxy_protocol",
    "setfib=",
    "fastopen=",
    "backlog=",
    "rcvbuf=",
    "sndbuf=",
    "accept_filter=",
    "deferred",
    "bind",
    "ipv6only=",
    "reuseport",
    "multipath",
    "so_keepalive=",
]);

pub(super) const ROWS: &[Directive] = &[
    // Servers and locations.
    row(CORE, "server", HTTP, &[])
        .block(SERVER)
        .many()
        .help("a site: the addresses and names that it answers, and what it does"),
    row(CORE, "listen", SERVER, &[Free, LISTEN_PARAMETERS])
        .takes(1, ANY_NUMBER)
        .many()
        .default("*:80")
        .help("address, port or `unix:` path on which the server takes connections"),
    row(CORE, "server_name", SERVER, &[Free])
        .takes(1, ANY_NUMBER)
        .many()
        .default("\"\"")
        .help("names of the server: exact, with `*` at an end, or `~` and a regular expression"),
    row(
        CORE,
        "server_name_in_redirect",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether redirects name the first `server_name` instead of the request's host"),
    row(CORE, "server_names_hash_max_size", HTTP, &[COUNT])
        .default("512")
        .no_effect(TABLES_GROW)
        .help("largest size of the tables of server names"),
    row(CORE, "server_names_hash_bucket_size", HTTP, &[COUNT])
        .default("64")
        .no_effect(TABLES_GROW)
        .help("size in bytes of one bucket of the tables of server names"),
    row(CORE, "location", SERVER.or(LOCATION), &[Free])
        .takes(1, 2)
        .block(LOCATION)
        .many()
        .help(
            "what holds for URIs that match: `=` exact, `~` regular expression, `@` by name only",
        ),
    row(CORE, "limit_except", LOCATION, &[METHODS])
        .takes(1, ANY_NUMBER)
        .block(Contexts::LIMIT_EXCEPT)
        .help("what holds for all methods but these; GET includes HEAD"),
    row(CORE, "internal", LOCATION, &[])
        .help("answers a request from outside with 404; only redirects of our own come in"),
    row(
        CORE,
        "satisfy",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["all", "any"])],
    )
    .default("all")
    .help("whether all access checks must allow a request, or one is enough"),
    row(CORE, "auth_delay", HTTP_SERVER_LOCATION, &[Milliseconds])
        .default("0s")
        .help("how long an answer with 401 is held back, against guessing"),
    row(CORE, "error_page", HTTP_TO_IF_IN_LOCATION, &[Free])
        .takes(2, ANY_NUMBER)
        .many()
        .help("the URI that is shown for these codes; `=code` changes the code of the answer"),
    row(CORE, "recursive_error_pages", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .help("whether an error while showing an error page may lead to another one"),
    row(CORE, "try_files", SERVER.or(LOCATION), &[Template])
        .takes(2, ANY_NUMBER)
        .help("serves the first file or `directory/` that exists, else the last URI or `=code`"),
    row(CORE, "resolver", HTTP_SERVER_LOCATION, &[Free])
        .takes(1, ANY_NUMBER)
        .help("name servers for names that come up while running; `valid=` overrides the TTL"),
    row(
        CORE,
        "resolver_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("30s")
    .help("how long resolving a name may take"),
    row(CORE, "variables_hash_max_size", HTTP, &[COUNT])
        .default("1024")
        .no_effect(TABLES_GROW)
        .help("largest size of the table of variables"),
    row(CORE, "variables_hash_bucket_size", HTTP, &[COUNT])
        .default("64")
        .no_effect(TABLES_GROW)
        .help("size in bytes of one bucket of the table of variables"),
    // The request head.
    row(CORE, "client_header_timeout", HTTP_SERVER, &[Milliseconds])
        .default("60s")
        .help("how long reading a request's head may take; 408 after that"),
    row(CORE, "client_header_buffer_size", HTTP_SERVER, &[Size])
        .default("1k")
        .no_effect("a head is read into one buffer that grows as it has to")
        .help("first buffer for a request's head, in bytes"),
    row(
        CORE,
        "large_client_header_buffers",
        HTTP_SERVER,
        &[POSITIVE, Size],
    )
    .default("4 8k")
    .help("number and size of the buffers for long heads; no line may be longer than one"),
    row(CORE, "max_headers", HTTP_SERVER, &[COUNT])
        .default("1000")
        .help("most fields that a request's head may have"),
    row(CORE, "ignore_invalid_headers", HTTP_SERVER, &[Flag])
        .default("on")
        .help("whether fields with an invalid name are dropped rather than refused"),
    row(CORE, "underscores_in_headers", HTTP_SERVER, &[Flag])
        .default("off")
        .help("whether `_` is valid in the names of a client's fields"),
    row(CORE, "merge_slashes", HTTP_SERVER, &[Flag])
        .default("on")
        .help("whether several slashes in a row count as one when a location is chosen"),
    row(CORE, "connection_pool_size", HTTP_SERVER, &[Size])
        .default("512")
        .no_effect(NO_POOLS)
        .help("memory set aside for a connection, in bytes"),
    row(CORE, "request_pool_size", HTTP_SERVER, &[Size])
        .default("4k")
        .no_effect(NO_POOLS)
        .help("memory set aside for a request, in bytes"),
    // The request body.
    row(
        CORE,
        "client_max_body_size",
        HTTP_SERVER_LOCATION,
        &[Offset],
    )
    .default("1m")
    .help("largest request body in bytes; 413 above that; 0 is no limit"),
    row(
        CORE,
        "client_body_buffer_size",
        HTTP_SERVER_LOCATION,
        &[Size],
    )
    .default("8k")
    .help("how much of a request body is kept in memory, in bytes; more goes to a file"),
    row(
        CORE,
        "client_body_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("60s")
    .help("longest pause between two reads of a request body; 408 after that"),
    row(
        CORE,
        "client_body_in_file_only",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["off", "on", "clean"])],
    )
    .default("off")
    .help("whether every request body goes to a file; `clean` removes it afterwards"),
    row(
        CORE,
        "client_body_temp_path",
        HTTP_SERVER_LOCATION,
        &[Path, DIRECTORY_LEVEL],
    )
    .takes(1, 4)
    .default("client_body_temp")
    .help("directory for request bodies on disk, with up to three levels below it"),
    row(
        CORE,
        "client_body_in_single_buffer",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .no_effect("a body in memory is one piece already")
    .help("whether a request body in memory is kept in one piece"),
    // The connection.
    row(
        CORE,
        "keepalive_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds, Seconds],
    )
    .takes(1, 2)
    .default("75s")
    .help("how long an idle client connection stays open; the second is told in `Keep-Alive`"),
    row(
        CORE,
        "keepalive_min_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("0")
    .no_effect("an idle connection is closed for its timeout or the end of the program only")
    .help("how long an idle connection is kept even if room or a reload would close it"),
    row(CORE, "keepalive_requests", HTTP_SERVER_LOCATION, &[COUNT])
        .default("1000")
        .help("most requests over one client connection"),
    row(
        CORE,
        "keepalive_time",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("1h")
    .help("age at which a client connection is closed after its next request"),
    row(
        CORE,
        "keepalive_disable",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["none", "msie6", "safari"])],
    )
    .takes(1, 2)
    .many()
    .default("msie6")
    .no_effect(OLD_BROWSERS)
    .help("browsers whose connections are not kept open"),
    row(
        CORE,
        "lingering_close",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["off", "on", "always"])],
    )
    .default("on")
    .help("whether unread data of a client is awaited before its connection is closed"),
    row(
        CORE,
        "lingering_time",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("30s")
    .help("how long unread data is read and dropped altogether"),
    row(
        CORE,
        "lingering_timeout",
        HTTP_SERVER_LOCATION,
        &[Milliseconds],
    )
    .default("5s")
    .help("how long to wait for more unread data"),
    row(
        CORE,
        "reset_timedout_connection",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .help("whether connections that timed out are reset, which frees their memory at once"),
    row(CORE, "send_timeout", HTTP_SERVER_LOCATION, &[Milliseconds])
        .default("60s")
        .help("longest pause between two writes to a client"),
    row(CORE, "send_lowat", HTTP_SERVER_LOCATION, &[Size])
        .default("0")
        .no_effect(NO_LOW_WATER_MARK)
        .help("smallest free room in bytes for which a write is tried"),
    row(CORE, "postpone_output", HTTP_SERVER_LOCATION, &[Size])
        .default("1460")
        .no_effect("a head leaves with the first bytes of its body")
        .help("how many bytes to collect before they are sent"),
    row(CORE, "tcp_nodelay", HTTP_SERVER_LOCATION, &[Flag])
        .default("on")
        .no_effect("what is ready to be sent is always sent without waiting")
        .help("whether small pieces are sent without waiting for more"),
    row(CORE, "tcp_nopush", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .no_effect("a head leaves with the first bytes of its body")
        .help("whether packets are filled before they are sent"),
    row(CORE, "limit_rate", HTTP_TO_IF_IN_LOCATION, &[Template])
        .default("0")
        .help("bytes per second that a client gets for one request; 0 is no limit"),
    row(
        CORE,
        "limit_rate_after",
        HTTP_TO_IF_IN_LOCATION,
        &[Template],
    )
    .default("0")
    .help("bytes of an answer that are sent before `limit_rate` begins"),
    // The answer.
    row(CORE, "server_tokens", HTTP_SERVER_LOCATION, &[Template])
        .default("off")
        .help("what `Server` and error pages tell: the name, with `on` its version too, or a text"),
    row(CORE, "absolute_redirect", HTTP_SERVER_LOCATION, &[Flag])
        .default("on")
        .help("whether redirects of our own carry scheme and host"),
    row(CORE, "port_in_redirect", HTTP_SERVER_LOCATION, &[Flag])
        .default("on")
        .help("whether absolute redirects of our own carry the port"),
    row(
        CORE,
        "chunked_transfer_encoding",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("on")
    .help("whether answers of unknown length are chunked in HTTP/1.1"),
    row(CORE, "early_hints", HTTP_SERVER_LOCATION, &[Template])
        .takes(1, ANY_NUMBER)
        .many()
        .no_effect("interim answers of peers are always passed on")
        .help("passes 103 answers on when a value is neither empty nor `0`"),
    row(CORE, "etag", HTTP_SERVER_LOCATION, &[Flag])
        .default("on")
        .help("whether files get an `ETag` from their time and size"),
    row(
        CORE,
        "if_modified_since",
        HTTP_SERVER_LOCATION,
        &[OneOf(&["off", "exact", "before"])],
    )
    .default("exact")
    .help("how a file's time is compared with `If-Modified-Since`"),
    row(CORE, "max_ranges", HTTP_SERVER_LOCATION, &[COUNT])
        .help("most ranges that one request may ask for; 0 turns ranges off"),
    row(CORE, "msie_padding", HTTP_SERVER_LOCATION, &[Flag])
        .default("on")
        .no_effect(OLD_BROWSERS)
        .help("whether short error pages are padded for old browsers"),
    row(CORE, "msie_refresh", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .no_effect(OLD_BROWSERS)
        .help("whether old browsers get a refresh in place of a redirect"),
    row(CORE, "log_not_found", HTTP_SERVER_LOCATION, &[Flag])
        .default("on")
        .help("whether missing files are written to the error log"),
    row(CORE, "log_subrequest", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .no_effect("there are no subrequests")
        .help("whether subrequests are written to the access log"),
    row(
        CORE,
        "subrequest_output_buffer_size",
        HTTP_SERVER_LOCATION,
        &[Size],
    )
    .default("4k")
    .no_effect("there are no subrequests to keep in memory")
    .help("memory for the answer of a subrequest, in bytes"),
    row(
        CORE,
        "output_buffers",
        HTTP_SERVER_LOCATION,
        &[POSITIVE, Size],
    )
    .default("2 32k")
    .no_effect("buffers for reading files size themselves")
    .help("number and size of the buffers for reading files"),
    // Files.
    row(CORE, "root", HTTP_TO_IF_IN_LOCATION, &[PathTemplate])
        .default("html")
        .help("directory to which the whole URI is added to find a file"),
    row(CORE, "alias", LOCATION, &[PathTemplate])
        .help("path that takes the place of the location's prefix to find a file"),
    row(CORE, "default_type", HTTP_SERVER_LOCATION, &[Text])
        .default("text/plain")
        .help("media type of files whose extension is unknown"),
    row(CORE, "types", HTTP_SERVER_LOCATION, &[])
        .block(Contexts::ENTRIES)
        .many()
        .help("media types and the file extensions that belong to them"),
    row(CORE, "types_hash_max_size", HTTP_SERVER_LOCATION, &[COUNT])
        .default("1024")
        .no_effect(TABLES_GROW)
        .help("largest size of the table of media types"),
    row(
        CORE,
        "types_hash_bucket_size",
        HTTP_SERVER_LOCATION,
        &[COUNT],
    )
    .default("64")
    .no_effect(TABLES_GROW)
    .help("size in bytes of one bucket of the table of media types"),
    row(
        CORE,
        "open_file_cache",
        HTTP_SERVER_LOCATION,
        &[Parameter(&["off", "max=", "inactive="])],
    )
    .takes(1, 2)
    .default("off")
    .no_effect(NO_FILE_CACHE)
    .help("how many open files, sizes and errors are remembered, and for how long unused"),
    row(
        CORE,
        "open_file_cache_valid",
        HTTP_SERVER_LOCATION,
        &[Seconds],
    )
    .default("60s")
    .no_effect(NO_FILE_CACHE)
    .help("how long a remembered file is trusted before it is looked at again"),
    row(
        CORE,
        "open_file_cache_min_uses",
        HTTP_SERVER_LOCATION,
        &[COUNT],
    )
    .default("1")
    .no_effect(NO_FILE_CACHE)
    .help("uses within the unused time that keep a file open"),
    row(
        CORE,
        "open_file_cache_errors",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .no_effect(NO_FILE_CACHE)
    .help("whether failures to open a file are remembered"),
    row(
        CORE,
        "open_file_cache_events",
        HTTP_SERVER_LOCATION,
        &[Flag],
    )
    .default("off")
    .no_effect("the system does not report changes of open files this way")
    .help("whether the system reports changes of remembered files"),
    row(
        CORE,
        "disable_symlinks",
        HTTP_SERVER_LOCATION,
        &[Parameter(&["off", "on", "if_not_owner", "from="])],
    )
    .takes(1, 2)
    .default("off")
    .help("whether symbolic links on the way to a file are refused"),
    row(CORE, "sendfile", HTTP_TO_IF_IN_LOCATION, &[Flag])
        .default("off")
        .help("whether the kernel copies files to the client by itself"),
    row(CORE, "sendfile_max_chunk", HTTP_SERVER_LOCATION, &[Size])
        .default("2m")
        .no_effect("no connection may hold up its worker anyway")
        .help("most bytes that one call of `sendfile` moves"),
    row(
        CORE,
        "aio",
        HTTP_SERVER_LOCATION,
        &[Parameter(&["off", "on", "threads", "threads="])],
    )
    .default("off")
    .no_effect("files are read without holding up the worker anyway")
    .help("whether files are read in the background"),
    row(CORE, "aio_write", HTTP_SERVER_LOCATION, &[Flag])
        .default("off")
        .no_effect("files are written without holding up the worker anyway")
        .help("whether files are written in the background"),
    row(CORE, "directio", HTTP_SERVER_LOCATION, &[Free])
        .default("off")
        .no_effect(NO_DIRECT_IO)
        .help("size in bytes from which files bypass the page cache"),
    row(CORE, "directio_alignment", HTTP_SERVER_LOCATION, &[Offset])
        .default("512")
        .no_effect(NO_DIRECT_IO)
        .help("alignment in bytes of reads that bypass the page cache"),
    row(CORE, "read_ahead", HTTP_SERVER_LOCATION, &[Size])
        .default("0")
        .no_effect("the kernel decides how far to read ahead")
        .help("how many bytes of a file the kernel reads ahead"),
];
