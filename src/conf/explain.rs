//! THE table of problem codes: name, title, what and why, a wrong and a right example.
//!
//! `openclaw explain CODE` prints a row. A code never changes its meaning and is never used again;
//! a new one is one new row. `OC-E0xx` and `OC-W0xx` come from reading and checking the text, the
//! numbers above from lowering.

/// The stable name of a kind of problem; the constants are the rows of [`CODES`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Code(&'static str);

/// What `openclaw explain` tells about a code.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// The problem in a few words.
    pub title: &'static str,
    /// What happens and why it is a problem.
    pub text: &'static str,
    /// A configuration with the problem; empty where text alone cannot show it.
    pub wrong: &'static str,
    /// The same without the problem.
    pub right: &'static str,
}

impl Code {
    /// As printed: `OC-E030`.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// The code of a name, in any case, with or without `OC-`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_uppercase();
        let number = name.strip_prefix("OC-").unwrap_or(&name);
        CODES
            .iter()
            .map(|row| row.code)
            .find(|code| code.0.strip_prefix("OC-") == Some(number))
    }

    /// Is it found by lowering, so that what reading and checking found may be its cause?
    pub fn is_of_lowering(self) -> bool {
        // After `OC-` and the letter: 0 for reading and checking.
        self.0.as_bytes().get(4).is_some_and(|&digit| digit != b'0')
    }

    /// Is it told by `openclaw lint` only?
    pub fn is_of_lint(self) -> bool {
        ((290..310).chain(367..369).chain(403..404))
            .any(|number| self.0.strip_prefix("OC-W") == Some(&number.to_string()))
    }

    /// What is known about it.
    pub fn explanation(self) -> &'static Explanation {
        CODES
            .iter()
            .find(|row| row.code == self)
            // Codes are made by the table only, so there is always a row.
            .unwrap_or(&CODES[0])
    }
}

/// The text that `openclaw explain CODE` prints.
pub fn explain(code: Code) -> String {
    let row = code.explanation();
    let mut out = format!("{}: {}\n\n{}\n", row.code.name(), row.title, row.text);
    for (title, example) in [("wrong", row.wrong), ("right", row.right)] {
        if !example.is_empty() {
            out.push_str(&format!("\n{title}:\n\n"));
            for line in example.lines() {
                out.push_str(&format!("    {line}\n"));
            }
        }
    }
    out
}

macro_rules! codes {
    ($($number:literal $constant:ident $title:literal { $text:literal, $wrong:literal, $right:literal })*) => {
        #[expect(missing_docs, reason = "the row says what it means")]
        impl Code {
            $(pub const $constant: Self = Self(concat!("OC-", $number));)*
        }

        /// Every code, in the order of numbers.
        pub static CODES: &[Explanation] = &[$(Explanation {
            code: Code::$constant,
            title: $title,
            text: $text,
            wrong: $wrong,
            right: $right,
        },)*];
    };
}

codes! {
    // Words, statements, blocks.
    "E001" UNCLOSED_QUOTE "a quote is not closed" {
        "A word that starts with a quote ends with the same quote. Without it, everything up to the \
         next quote, lines later, would become one word.",
        "http {\n    add_header X-Note \"hello;\n}",
        "http {\n    add_header X-Note \"hello\";\n}"
    }
    "E002" TEXT_AFTER_QUOTE "text directly after a closing quote" {
        "After a closing quote there must be a blank, `;`, `{` or `)`. Quotes do not join with what \
         follows; put the quotes around the whole word.",
        "http {\n    add_header X-Note \"hello\"world;\n}",
        "http {\n    add_header X-Note \"helloworld\";\n}"
    }
    "E003" UNEXPECTED_CLOSE "a `}` that closes nothing" {
        "Each `}` closes the innermost block that is open; here no block is open.",
        "events { }\n}",
        "events { }"
    }
    "E004" UNEXPECTED_SEMICOLON "a `;` that ends nothing" {
        "A `;` ends a directive. One that stands alone, for example after a `}`, is an error as in \
         nginx.",
        "events { };",
        "events { }"
    }
    "E005" UNEXPECTED_OPEN "a `{` without a name" {
        "A block belongs to the directive in front of it; here nothing stands in front.",
        "{ worker_connections 512; }",
        "events { worker_connections 512; }"
    }
    "E006" MISSING_SEMICOLON "a `;` is missing" {
        "A directive without a block ends with `;`. Without it, the words that follow, on the next \
         line too, become further arguments.",
        "events { worker_connections 512 }",
        "events { worker_connections 512; }"
    }
    "E007" UNCLOSED_BLOCK "a block is not closed" {
        "The file ends before the `}` of this block. If the lines are indented, the message shows \
         the block whose end looks misplaced.",
        "events {\n    worker_connections 512;",
        "events {\n    worker_connections 512;\n}"
    }
    "E008" SWALLOWED "a comment swallows the rest of the line" {
        "A comment reaches to the end of its line. Text that was joined into one line, as web pages \
         do, hides everything after the first `#`, the end of the block too. Put a line break where \
         the comment is meant to end.",
        "events { worker_connections 512; # enough for us }",
        "events {\n    worker_connections 512; # enough for us\n}"
    }
    "E009" TOO_DEEP "blocks are nested too deeply" {
        "At most 32 blocks may stand in each other. No useful configuration comes near; usually a \
         `}` is missing in a file that a program wrote.",
        "",
        ""
    }
    "E010" TOO_LONG "a word is too long" {
        "A word may have at most 65536 bytes. A longer one is usually an unclosed quote.",
        "",
        ""
    }
    "E011" NUL "a NUL byte in the text" {
        "A configuration is text; a NUL byte comes from a damaged disk or from another encoding, \
         for example UTF-16.",
        "user \0nobody;",
        "user nobody;"
    }
    "E012" TOO_MANY_PROBLEMS "too many problems" {
        "Only the first problems are shown; correct them and look again. Very many problems in one file \
         often mean that it is no configuration at all.",
        "",
        ""
    }

    // Files.
    "E020" NOT_UTF8 "the file is not UTF-8 text" {
        "A configuration is UTF-8 text. Convert the file, for example with \
         `iconv -f latin1 -t utf8`.",
        "",
        ""
    }
    "E021" FILE_TOO_LARGE "the file is too large" {
        "A configuration file may have at most 10 MiB.",
        "",
        ""
    }
    "E022" FILE_UNREADABLE "the file cannot be read" {
        "The file does not exist, is not a regular file, or may not be read by this user. An \
         `include` with a pattern (`*`, `?`, `[`) may match nothing; a plain name must exist. \
         Relative names start at the directory of the main configuration file.",
        "include /does/not/exist.conf;",
        "include /does/not/exist*.conf;"
    }
    "E023" INCLUDE_CYCLE "a file includes itself" {
        "The file is included while it is being read, directly or through other files.",
        "",
        ""
    }
    "E024" INCLUDE_TOO_DEEP "includes are nested too deeply" {
        "At most 16 files may include each other.",
        "",
        ""
    }
    "E025" TOO_LARGE "the configuration is too large" {
        "A file may hold at most 2000000 words, and all files together 1000000 directives and 64 MiB; \
         there may be 65000 files. \
         Usually a pattern of an `include` matches more than was meant.",
        "",
        ""
    }

    // Directives against the table.
    "E030" UNKNOWN_DIRECTIVE "an unknown directive" {
        "No directive has this name. Names are lower case. A word at this place that was meant as \
         an argument points to a `;` too many before it.",
        "worker_proceses 2;",
        "worker_processes 2;"
    }
    "E031" FOREIGN_DIRECTIVE "a directive of nginx that is not available" {
        "nginx knows this directive, openclaw does not have it. It is refused instead of ignored, \
         because the configuration would not do what it says. Remove the line, or look for the \
         replacement that the message names.",
        "",
        ""
    }
    "E032" MISPLACED "a directive at the wrong place" {
        "Each directive is allowed in certain blocks only. A `}` too many or too few before it is \
         the usual reason.",
        "proxy_connect_timeout 5s;",
        "http { proxy_connect_timeout 5s; }"
    }
    "E033" ARGUMENT_COUNT "a wrong number of arguments" {
        "The directive has too few or too many arguments. Text with blanks needs quotes. Too many \
         arguments often mean that the `;` is missing.",
        "http { proxy_connect_timeout; }",
        "http { proxy_connect_timeout 5s; }"
    }
    "E034" NO_BLOCK "a directive without its block" {
        "This directive opens a block with `{`.",
        "events;",
        "events { }"
    }
    "E035" UNEXPECTED_BLOCK "a block where none belongs" {
        "This directive ends with `;` and has no block.",
        "http { proxy_connect_timeout 5s { } }",
        "http { proxy_connect_timeout 5s; }"
    }
    "E036" DUPLICATE "a directive stands twice" {
        "This directive may stand only once in a block; which of the two is meant cannot be known.",
        "http { proxy_connect_timeout 5s; proxy_connect_timeout 6s; }",
        "http { proxy_connect_timeout 5s; }"
    }

    // Arguments against their types.
    "E040" NOT_A_FLAG "neither `on` nor `off`" {
        "The directive is a switch and takes `on` or `off`.",
        "http { sendfile yes; }",
        "http { sendfile on; }"
    }
    "E041" NOT_A_NUMBER "not a number" {
        "A whole number is expected: digits without unit, sign or blank.",
        "events { worker_connections many; }",
        "events { worker_connections 512; }"
    }
    "E042" OUT_OF_RANGE "a number out of range" {
        "The number is smaller or larger than the directive allows.",
        "events { worker_connections 0; }",
        "events { worker_connections 512; }"
    }
    "E043" NOT_A_SIZE "not a size" {
        "A size is a number with an optional unit: `k` for 1024 bytes, `m` for 1024 k, and `g` where \
         a file is meant. There is no blank between them, and no `b` behind them.",
        "http { client_max_body_size 10mb; }",
        "http { client_max_body_size 10m; }"
    }
    "E044" NOT_A_DURATION "not a duration" {
        "A duration is one or more numbers with a unit, from large to small: `y` `M` (months) `w` `d` \
         `h` `m` (minutes) `s` `ms`. A number alone is seconds. A duration with blanks needs quotes. \
         Directives that count in milliseconds know no months and years, those that count in seconds \
         no `ms`.",
        "http { proxy_connect_timeout 5sec; }",
        "http { proxy_connect_timeout 5s; }"
    }
    "E045" NOT_ONE_OF "a word that is not among the allowed ones" {
        "The directive takes one of a few words; the message lists them.",
        "http { server { satisfy some; } }",
        "http { server { satisfy any; } }"
    }
    "E046" NOT_A_VARIABLE "not the name of a variable" {
        "The name of a variable is expected: `$` and then letters, digits and `_`.",
        "http { server { set kind api; } }",
        "http { server { set $kind api; } }"
    }
    "E047" UNKNOWN_PARAMETER "an unknown parameter" {
        "The directive does not know this parameter; the message lists those that it knows.",
        "",
        ""
    }
    "E048" PARAMETER_VALUE "a parameter with a missing or needless value" {
        "A parameter is a word alone (`backup`) or a name with a value (`weight=3`), without blanks \
         around the `=`.",
        "",
        ""
    }

    // Lowering: variables, patterns.
    "E100" BAD_TEMPLATE "a `$` without the name of a variable" {
        "A `$` starts the name of a variable: letters, digits and `_`, perhaps in braces. A `$` that \
         is meant as such can come from a variable only: `geo $dollar { default \"$\"; }`.",
        "http { server { return 200 \"5 $\"; } }",
        "http { server { return 200 \"5 EUR\"; } }"
    }
    "E101" UNKNOWN_VARIABLE "an unknown variable" {
        "Neither is it built in, nor does `set`, `map`, `geo`, `split_clients` or a named group of a \
         regular expression define it.",
        "http { server { return 200 $remote_adr; } }",
        "http { server { return 200 $remote_addr; } }"
    }
    "E102" BAD_REGEX "a regular expression that cannot be compiled" {
        "The text is not a regular expression in the spelling of PCRE. Unbalanced brackets are the \
         usual reason; a `{` in an expression needs quotes around the whole.",
        "http { server { location ~ ^/(a { return 204; } } }",
        "http { server { location ~ ^/(a) { return 204; } } }"
    }
    "E103" FIXED_VARIABLE "a built-in variable cannot be defined" {
        "A built-in variable keeps its meaning. Only `$args` and `$limit_rate` can be set.",
        "http { server { set $uri /index.html; } }",
        "http { server { set $page /index.html; } }"
    }

    // Lowering: steps of the rewrite phase.
    "E110" BAD_CONDITION "not a condition" {
        "A condition is `($variable)`, a comparison with `=`, `!=`, `~`, `~*`, `!~` or `!~*`, or a test \
         of a file with `-f`, `-d`, `-e` or `-x`, and stands in parentheses. There is no `&&`, no `||`, \
         no `==`, and blanks stand around the operator.",
        "http { server { if ($host == example.org) { return 404; } } }",
        "http { server { if ($host = example.org) { return 404; } } }"
    }
    "E111" EMPTY_REPLACEMENT "an empty replacement" {
        "A URI cannot be empty; the replacement of a `rewrite` must hold at least one character.",
        "http { server { rewrite ^/old \"\"; } }",
        "http { server { rewrite ^/old /; } }"
    }
    "E112" BAD_RETURN "not what `return` takes" {
        "`return` takes a status from 0 to 999, perhaps with a text or an address, or an address alone, \
         which then starts with `http://`, `https://` or `$scheme`.",
        "http { server { return /new; } }",
        "http { server { return 302 /new; } }"
    }

    // Lowering: servers and locations.
    "E120" BAD_SERVER_NAME "not a name of a server" {
        "A `*` or a dot alone names nothing, and a regular expression behind `~` cannot be empty. A \
         server for all other names needs none: `listen 80 default_server;`, by custom with the name \
         `_`.",
        "http { server { server_name *; } }",
        "http { server { listen 80 default_server; server_name _; } }"
    }
    "E121" BAD_LOCATION "a location that cannot be understood" {
        "A location is a prefix (`/img/`), or has one of `=`, `^~`, `~`, `~*` before it, or is a name \
         (`@fallback`).",
        "http { server { location == / { } } }",
        "http { server { location = / { } } }"
    }
    "E122" DUPLICATE_LOCATION "a location stands twice" {
        "Two locations of one level have the same text, so one of them could never be used. `^~` does \
         not tell them apart, `=` does.",
        "http { server { location /a { } location ^~ /a { } } }",
        "http { server { location /a { } location = /a { } } }"
    }
    "E123" MISPLACED_LOCATION "a location where it cannot match" {
        "A location inside another one must start with the same text; nothing can be inside an exact \
         or a named one; named ones stand directly in the server.",
        "http { server { location /a/ { location /b/ { } } } }",
        "http { server { location /a/ { location /a/b/ { } } } }"
    }

    // Lowering: variables that are looked up.
    "E130" BAD_MAP_ENTRY "not an entry of a map" {
        "An entry is a value and what it maps to, or one of `hostnames` and `volatile` alone. With \
         `hostnames`, a `*` may stand as first or last part of a name only.",
        "http { map $host $site { a.example; } }",
        "http { map $host $site { a.example one; } }"
    }
    "E131" DUPLICATE_MAP_ENTRY "an entry of a map stands twice" {
        "The same value maps to two things. Values are compared without regard to case.",
        "http { map $host $site { a.example one; A.example two; } }",
        "http { map $host $site { a.example one; } }"
    }
    "E132" BAD_GEO_ENTRY "not an entry of `geo`" {
        "An entry is a network and its value (`10.0.0.0/8 inside;`), with `ranges` an address range \
         (`10.0.0.0-10.0.0.9 inside;`); `default`, `delete` and `proxy` take one argument, `ranges`, \
         `proxy_recursive` and `volatile` none.",
        "http { geo $inside { 10.0.0.0/33 yes; } }",
        "http { geo $inside { 10.0.0.0/8 yes; } }"
    }
    "E133" BAD_SHARE "not a share of `split_clients`" {
        "A share is a percentage with at most two decimals, or `*` for the rest; all together they \
         may make up 100% at most.",
        "http { split_clients $remote_addr $kind { 60% a; 50% b; } }",
        "http { split_clients $remote_addr $kind { 60% a; * b; } }"
    }

    // Listening, logging, proxying.
    "E140" BAD_ADDRESS "not an address" {
        "An address is an IP address, a name or `unix:PATH`, with a port from 1 to 65535 where one is \
         meant; IPv6 addresses stand in brackets when a port follows.",
        "http { upstream app { server 10.0.0.1:99999; } }",
        "http { upstream app { server 10.0.0.1:8080; } }"
    }
    "E141" CONFLICTING_LISTEN "two `listen` lines disagree about one address" {
        "An address has one socket, so its options and its default server can be given once. Servers \
         that share it repeat the address alone.",
        "http { server { listen 80 default_server; } server { listen 80 default_server; server_name a; } }",
        "http { server { listen 80 default_server; } server { listen 80; server_name a; } }"
    }
    "E142" UNKNOWN_NAME "a name that nothing has" {
        "The line names something that the configuration does not define.",
        "http { access_log logs/a.log brief; server { } }",
        "http { log_format brief '$request'; access_log logs/a.log brief; server { } }"
    }
    "E143" NO_SERVERS "an upstream without servers" {
        "A group needs at least one `server`.",
        "http { upstream app { } }",
        "http { upstream app { server 10.0.0.1:8080; } }"
    }
    "E144" BACKUP_WITHOUT_USE "`backup` where the method knows none" {
        "Methods that choose by a hash or by chance have no place for a backup peer.",
        "http { upstream app { ip_hash; server 10.0.0.1; server 10.0.0.2 backup; } }",
        "http { upstream app { server 10.0.0.1; server 10.0.0.2 backup; } }"
    }
    "E145" PATH_WITHOUT_PREFIX "a path in `proxy_pass` that replaces nothing" {
        "A path in `proxy_pass` replaces the prefix that the location matched. Where no prefix was \
         matched there is nothing to replace.",
        "http { server { location ~ ^/a { proxy_pass http://10.0.0.1/b; } } }",
        "http { server { location ~ ^/a { proxy_pass http://10.0.0.1; } } }"
    }
    "E146" BAD_FIELD_NAME "not the name of a header field" {
        "Names of header fields are letters, digits and `-`, or a few signs; never blanks or colons.",
        "http { server { add_header 'X Note:' hello; } }",
        "http { server { add_header X-Note hello; } }"
    }
    "E147" BAD_FIELD_VALUE "not the value of a header field" {
        "A value is one line: it has no control characters.",
        "http { server { add_header X-Note 'a\nb'; } }",
        "http { server { add_header X-Note 'a b'; } }"
    }
    "E148" TWO_ANSWERS "two directives that each answer" {
        "One thing answers a request. `metrics` beside `proxy_pass` or `stub_status` would leave one of \
         the two without effect.",
        "http { server { location = /m { metrics; stub_status; } } }",
        "http { server { location = /m { metrics; } location = /s { stub_status; } } }"
    }

    // Certificates: providers of DNS.
    "E170" BAD_DNS_PROVIDER "a DNS provider that cannot be used as it is written" {
        "Each provider needs parameters of its own, and takes no others: a token here, a pair of keys \
         there. The message names what is missing or needless, and what the provider takes. A block \
         has one `provider` or one `exec`.",
        "http { dns_provider zone { provider cloudflare; api_key env:TOKEN; } }",
        "http { dns_provider zone { provider cloudflare; api_token env:TOKEN; } }"
    }
    "E171" BAD_SECRET "not a place where a secret is" {
        "A secret is `env:NAME` (a variable of the environment), `file:PATH` (the text of a file) or \
         `credential:NAME` (what `LoadCredential=` of systemd puts at hand).",
        "http { dns_provider zone { provider desec; api_token env:; } }",
        "http { dns_provider zone { provider desec; api_token env:DESEC_TOKEN; } }"
    }

    // What can be used and is probably a mistake.
    "W001" BUILTIN_MIME_TYPES "the built-in table of media types is used" {
        "The file of media types does not exist. Its usual content is built in and is used instead; \
         create the file, or remove the line, to silence this.",
        "http { include /does/not/exist/mime.types; }",
        "http { }"
    }
    "W002" LINE_LOOKS_LIKE_DIRECTIVE "an argument that looks like the next directive" {
        "A line starts with the name of a directive, but the directive before it has not ended, so \
         the name is an argument. Probably a `;` is missing. If it is meant, put it in quotes.",
        "http {\n    server {\n        server_name a.example\n        listen 80;\n    }\n}",
        "http {\n    server {\n        server_name a.example;\n        listen 80;\n    }\n}"
    }
    "W003" INVISIBLE_CHARACTER "a character that looks like a blank or quote and is not" {
        "Only blank, tab and line end separate words, and only \" and ' quote. Web pages and \
         word processors replace them by no-break spaces and curly quotes, which become part of the \
         word.",
        "http { default_type “text/plain”; }",
        "http { default_type \"text/plain\"; }"
    }
    "W004" QUOTE_INSIDE_WORD "a quote inside of a word does not quote" {
        "Quotes work only around a whole word. In the middle of a word they are ordinary characters \
         and become part of the value.",
        "http { default_type text=\"plain\"; }",
        "http { default_type \"text=plain\"; }"
    }
    "W005" BACKUP_INCLUDED "a backup file is included" {
        "The pattern of an `include` matches a file that an editor or package manager left behind. \
         Its directives are in force. Use a pattern such as `*.conf`, or move the file away.",
        "",
        ""
    }

    // What can be used and does not do what it seems to: servers, locations, variables.
    "W140" CONFLICTING_NAME "two servers with the same name and address" {
        "Requests for the name go to the first server; the second one can be reached by its other \
         names only.",
        "http { server { server_name a.example; } server { server_name a.example; } }",
        "http { server { server_name a.example; } server { server_name b.example; } }"
    }
    "W141" SUSPICIOUS_NAME "a server name that no request can have" {
        "Browsers send names in ASCII (`xn--…` for others), without a `/`, a port, an empty part or a \
         dot at the end. A `*` stands for whole parts, as the first or the last one: `*.example.org`, \
         `www.example.*`. Anything else needs a regular expression: `~^www\\d+\\.`.",
        "http { server { server_name bücher.example www*.example.org; } }",
        "http { server { server_name xn--bcher-kva.example *.example.org; } }"
    }
    "W142" REWRITE_MATCHES_QUERY "a rewrite that matches the query" {
        "The pattern asks for a `?`, which a path without its query never has. It is matched against \
         path and query together, and a match uses the query up. In nginx it would never match.",
        "http { server { rewrite ^/users\\?id=(.*)$ /users/$1 last; } }",
        "http { server { rewrite ^/users$ /users/$arg_id? last; } }"
    }
    "W143" MAP_REGEX_IGNORED "an entry of a map that is left out" {
        "The regular expression cannot be compiled. The entry is left out, so that everything else \
         works; nginx would not start.",
        "http { map $uri $kind { ~^/(a one; } }",
        "http { map $uri $kind { ~^/(a) one; } }"
    }
    "W144" DUPLICATE_NETWORK "a network or range stands twice" {
        "The later value is used.",
        "http { geo $inside { 10.0.0.0/8 yes; 10.0.0.0/8 no; } }",
        "http { geo $inside { 10.0.0.0/8 yes; } }"
    }
    "W145" HOST_BITS "an address with meaningless bits" {
        "Behind the length of the prefix the address of a network is zero; what stands there has no \
         meaning. Perhaps another length is meant.",
        "http { geo $inside { 10.1.2.3/8 yes; } }",
        "http { geo $inside { 10.0.0.0/8 yes; } }"
    }
    "W146" DUPLICATE_NAMED_LOCATION "a named location stands twice" {
        "The first one is used.",
        "http { server { location @a { } location @a { } } }",
        "http { server { location @a { } location @b { } } }"
    }
    "W147" NOTHING_TO_DELETE "a network to delete that is not there" {
        "`delete` takes back a network or range that an earlier line gave a value, exactly as it was \
         written.",
        "http { geo $inside { 10.0.0.0/8 yes; delete 10.1.0.0/16; } }",
        "http { geo $inside { 10.0.0.0/8 yes; delete 10.0.0.0/8; } }"
    }
    "W148" DEPRECATED "an old spelling" {
        "It still works; the new spelling says the same and will go on working.",
        "http { server { listen 8080 http2; } }",
        "http { server { listen 8080; http2 on; } }"
    }
    "W149" METHOD_REDEFINED "the method of balancing is set twice" {
        "A group has one method; the last line wins.",
        "http { upstream app { least_conn; ip_hash; server 10.0.0.1; } }",
        "http { upstream app { ip_hash; server 10.0.0.1; } }"
    }
    "W170" SECRET_IN_TEXT "a secret in the configuration" {
        "A configuration is read, copied, sent and kept in its history; a token written into it goes \
         along. Keep it elsewhere and name the place: `env:NAME`, `file:PATH` or `credential:NAME`.",
        "http { dns_provider zone { provider desec; api_token 9f86d081884c7d65; } }",
        "http { dns_provider zone { provider desec; api_token file:/etc/openclaw/desec.token; } }"
    }
    "E200" NO_CERTIFICATE_KEY "a certificate without its key" {
        "Every `ssl_certificate` belongs together with the `ssl_certificate_key` that has the same \
         position among its kind.",
        "http { server { listen 8443 ssl; ssl_certificate a.pem; } }",
        "http { server { listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; } }"
    }
    "E240" NO_PEER_CERTIFICATE_KEY "a certificate for peers without its key" {
        "`proxy_ssl_certificate` and `grpc_ssl_certificate` need the private key of the certificate, \
         in `proxy_ssl_certificate_key` or `grpc_ssl_certificate_key` of the same place or around it.",
        "http { server { location / { proxy_pass https://10.0.0.1; proxy_ssl_certificate a.pem; } } }",
        "http { server { location / { proxy_pass https://10.0.0.1; proxy_ssl_certificate a.pem; proxy_ssl_certificate_key a.key; } } }"
    }
    "E241" COMPUTED_PEER_CERTIFICATE "a certificate for peers that is made of variables" {
        "nginx can choose the certificate that it presents to a peer for each request. This version \
         loads it once, with the configuration.",
        "http { server { location / { proxy_pass https://10.0.0.1; proxy_ssl_certificate $host.pem; proxy_ssl_certificate_key a.key; } } }",
        "http { server { location / { proxy_pass https://10.0.0.1; proxy_ssl_certificate a.pem; proxy_ssl_certificate_key a.key; } } }"
    }
    "E242" NO_PEER_PROTOCOL "no version of TLS that is spoken with peers" {
        "SSL and TLS before 1.2 are broken and not spoken. A peer that speaks nothing newer cannot be \
         reached over TLS.",
        "http { server { location / { proxy_pass https://10.0.0.1; proxy_ssl_protocols TLSv1; } } }",
        "http { server { location / { proxy_pass https://10.0.0.1; proxy_ssl_protocols TLSv1.2 TLSv1.3; } } }"
    }
    "E243" NO_PEER_CIPHER "no cipher that is spoken with peers" {
        "The list names none of the ciphers that are spoken: those with authenticated encryption and \
         keys that nobody can recover later (ECDHE).",
        "http { server { location / { proxy_pass https://10.0.0.1; proxy_ssl_ciphers AES256-SHA; } } }",
        "http { server { location / { proxy_pass https://10.0.0.1; proxy_ssl_ciphers DEFAULT; } } }"
    }
    "W240" UNVERIFIED_PEER "a peer on the Internet that is not verified" {
        "TLS without a look at the certificate keeps out who only listens. Whoever can change what is \
         sent, anywhere on the way, can answer in the place of the peer, and reads everything, \
         passwords and keys too. As in nginx nothing is verified unless it is asked for.",
        "http { server { location / { proxy_pass https://203.0.114.1; } } }",
        "http { server { location / { proxy_pass https://203.0.114.1; proxy_ssl_verify on; } } }"
    }
    "W241" OLD_PEER_PROTOCOL "a version of TLS that is not spoken with peers" {
        "SSL and TLS before 1.2 are broken and not spoken. The other versions of the list are.",
        "http { server { location / { proxy_pass https://10.0.0.1; proxy_ssl_protocols TLSv1.1 TLSv1.2; } } }",
        "http { server { location / { proxy_pass https://10.0.0.1; proxy_ssl_protocols TLSv1.2; } } }"
    }
    "E210" NO_PROTOCOL "no protocol that is spoken" {
        "Versions of TLS before 1.2 are broken and not spoken; a server must name at least one of the two \
         that are.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_protocols TLSv1 TLSv1.1;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_protocols TLSv1.2 TLSv1.3;\n} }"
    }
    "E211" NO_CIPHER "no cipher suite that is offered" {
        "There are the suites with forward secrecy and authenticated encryption: ECDHE with AES-GCM or \
         ChaCha20. A list without any of them would refuse every client.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_ciphers AES128-SHA;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_ciphers HIGH:!aNULL;\n} }"
    }
    "E212" NO_GROUP "no group that is offered" {
        "Keys are exchanged with X25519MLKEM768, SecP256r1MLKEM768, X25519, prime256v1 or secp384r1. A \
         list without any of them would refuse every client.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_ecdh_curve secp521r1;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_ecdh_curve X25519:prime256v1;\n} }"
    }
    "E213" CONFLICTING_SESSION_CACHE "a session cache with two sizes" {
        "Servers that name the same cache share it, so it has one size.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_session_cache shared:a:1m; } server { listen 8444 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; ssl_session_cache shared:a:2m;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_session_cache shared:a:1m; } server { listen 8444 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; ssl_session_cache shared:a:1m;\n} }"
    }
    "E214" NO_CLIENT_AUTHORITY "clients must show certificates, of whom is not said" {
        "`ssl_verify_client` needs to know whose certificates count; `optional_no_ca` alone takes any.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_verify_client on;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_verify_client on; ssl_client_certificate ca.pem;\n} }"
    }
    "E215" BAD_RESPONDER "not the address of an OCSP responder" {
        "A responder is asked over HTTP; its address begins with `http://` or `https://`.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_stapling_responder ocsp.example;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_stapling_responder http://ocsp.example/;\n} }"
    }
    "E230" STATUS_WITHOUT_AUTHORITY "an authority is to be asked that nobody knows" {
        "`ssl_ocsp` asks the authority of a client's certificate about it. With \
         `ssl_verify_client optional_no_ca` it may be anybody's, and whoever made the certificate would \
         be asked whether it is good.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_client_certificate ca.pem; ssl_ocsp on; ssl_verify_client optional_no_ca;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_client_certificate ca.pem; ssl_ocsp on; ssl_verify_client optional;\n} }"
    }
    "E231" CONFLICTING_STATUS_CACHE "an OCSP cache with two sizes" {
        "Servers that name the same cache share it, so it has one size.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_ocsp_cache shared:a:1m; } server { listen 8444 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; ssl_ocsp_cache shared:a:2m;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_ocsp_cache shared:a:1m; } server { listen 8444 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; ssl_ocsp_cache shared:a:1m;\n} }"
    }
    "W230" STATUS_WITHOUT_CLIENTS "nobody to ask about" {
        "`ssl_ocsp` asks about the certificates of clients, and without `ssl_verify_client` they show none.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_client_certificate ca.pem; ssl_ocsp on;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_client_certificate ca.pem; ssl_ocsp on; ssl_verify_client on;\n} }"
    }
    "W231" NO_HTTP3 "HTTP/3 is not served" {
        "QUIC is not spoken here, so that nothing listens on UDP. The file is good all the same, and works \
         with nginx too: clients get HTTP/2 over TLS, at the addresses with `ssl`. A server that listens \
         with `quic` only gets TLS over TCP at that address.",
        "http { server {\n    listen 8443 quic; listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n} }"
    }
    "W232" HTTP3_ANNOUNCED "HTTP/3 is announced and not served" {
        "`Alt-Svc` with `h3` sends browsers to UDP, where nobody answers. They come back over TCP, and try \
         again later.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    add_header Alt-Svc 'h3=\":8443\"; ma=86400';\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n} }"
    }
    "W210" OLD_PROTOCOL "a protocol that is no longer spoken" {
        "Versions of TLS before 1.2 are broken (RFC 8996); the others on the line are spoken.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_protocols TLSv1.1 TLSv1.2;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_protocols TLSv1.2;\n} }"
    }
    "W211" UNKNOWN_CIPHER "an unknown cipher suite" {
        "The word is left out of the list, as OpenSSL does; it may be misspelt.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_ciphers HIHG:ECDHE;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_ciphers HIGH:ECDHE;\n} }"
    }
    "W212" UNKNOWN_GROUP "a group that is not offered" {
        "The word is left out of the list.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_ecdh_curve X25519:X448;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_ecdh_curve X25519;\n} }"
    }
    "W213" COMMAND_WITHOUT_EFFECT "a setting of OpenSSL without a meaning here" {
        "It sets what is fixed here, or what only OpenSSL has.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_conf_command Options Bugs;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_conf_command Options PrioritizeChaCha;\n} }"
    }
    "W214" EARLY_DATA_WITHOUT_EFFECT "early data that no client can send" {
        "Requests before the end of a handshake exist in TLS 1.3 only.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_early_data on; ssl_protocols TLSv1.2;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    ssl_early_data on; ssl_protocols TLSv1.2 TLSv1.3;\n} }"
    }
    "W215" HSTS_NOT_PRELOADED "a name that no list takes for preloading" {
        "The lists that browsers bring along ask for `includeSubDomains` and a `max-age` of at least a \
         year beside `preload`.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    hsts max-age=30d preload;\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    hsts max-age=2y includeSubDomains preload;\n} }"
    }
    "W216" HSTS_WITHOUT_TLS "a field of TLS on a server without it" {
        "A browser ignores `Strict-Transport-Security` on a plain connection, and it must not be sent \
         there (RFC 6797 section 7.2).",
        "http { server { listen 8080; add_header Strict-Transport-Security max-age=9; } }",
        "http { server { listen 8080; return 301 https://$host$request_uri; } }"
    }
    "W217" HSTS_LOST "a place that does not send what the level above does" {
        "A place with an `add_header` of its own sends only that one. `add_header_inherit merge` adds \
         to those of the level above; `hsts` is not lost.",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    add_header Strict-Transport-Security max-age=9 always; location /a { add_header X-A b; }\n} }",
        "http { server {\n    listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n    add_header Strict-Transport-Security max-age=9 always; location /a { add_header_inherit merge; add_header X-A b; }\n} }"
    }
    "E260" CERTIFICATE_CACHE "a cache for certificates without a size" {
        "`ssl_certificate_cache` keeps certificates whose paths have variables; `max` says how many.",
        "http { server { listen 8443 ssl; ssl_certificate_cache valid=1m; } }",
        "http { server { listen 8443 ssl; ssl_certificate_cache max=1000 valid=1m; } }"
    }
    "E261" KEY_ELSEWHERE "a key that is not in a file" {
        "nginx can use keys that OpenSSL finds by itself (`engine:`, `store:`), in a card or a device \
         for instance. This version takes keys from files.",
        "http { server { listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key engine:e:id; } }",
        "http { server { listen 8443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; } }"
    }
    "W262" CERTIFICATE_UNUSABLE "a certificate that cannot be used" {
        "Something is wrong with the files of a certificate and its key. Only the names of this server \
         are harmed: they are served with a placeholder that no client trusts, or, after a reload, \
         with the certificate that was there before. As soon as the files are good they are taken \
         into use, without a reload.",
        "",
        ""
    }
    "W263" CERTIFICATE_DOUBTFUL "a certificate that is not as it should be" {
        "The certificate is served, but some clients may refuse it, or somebody else could use its key: \
         it has expired, the certificate of who signed it is missing, or others can read the key.",
        "",
        ""
    }
    "W264" CERTIFICATE_FOR_OTHERS "a certificate for other names" {
        "None of the certificates of a server is for one of its names: clients that ask for that name \
         refuse what they get. A `*` in a certificate stands for exactly one label.",
        "",
        ""
    }
    "W260" UNKNOWN_PROXY "a trusted proxy that has no address" {
        "`set_real_ip_from` takes a name as well as an address, and looks it up when the configuration \
         is read. This name was not found, so no request is believed to come through that proxy: its \
         own address is taken for the client's until a reload finds it.",
        "",
        ""
    }
    "W401" NO_PROXY_LIST "a list of proxies that is not there" {
        "`set_real_ip_from file:` reads the networks of proxies when the configuration is read. This file \
         could not be read, so no request is believed to come through them until a reload finds it.",
        "",
        ""
    }
    "E401" STORE_AND_CACHE "kept as a file and in a cache" {
        "As in nginx an answer is kept by one of the two: as a file that is served from then on, until \
         somebody removes it, or in a cache, for as long as it is good.",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location / { proxy_pass http://10.0.0.1; proxy_cache one; proxy_store on; } } }",
        "http { server { location / { proxy_pass http://10.0.0.1; proxy_store on; } } }"
    }
    "E402" BAD_STORE_ACCESS "rights of nobody" {
        "`proxy_store_access` says what the owner of a stored file, its group and all others may do: \
         read it (`r`), or write it too (`rw`).",
        "http { server { location / { proxy_pass http://10.0.0.1; proxy_store on; proxy_store_access user:rwx; } } }",
        "http { server { location / { proxy_pass http://10.0.0.1; proxy_store on; proxy_store_access user:rw group:r; } } }"
    }
    "E400" BAD_PROXY_LIST "a list of proxies that cannot be used" {
        "A list for `set_real_ip_from file:` has one address or network in a line. It is taken whole or \
         not at all: what is left of half a list would take proxies for clients.",
        "http { server { set_real_ip_from file:cdn.txt; } }",
        "http { server { set_real_ip_from 192.0.2.0/24; } }"
    }
    "W261" MIXED_PROXY_PROTOCOL "the PROXY protocol for some servers of an address" {
        "The header comes before the first byte of a connection, so it cannot depend on the server: if \
         one `listen` line of an address has `proxy_protocol`, it is awaited for all of them, and who \
         connects without it is refused.",
        "http { server { listen 8080 proxy_protocol; } server { listen 8080; server_name b; } }",
        "http { server { listen 8080 proxy_protocol; } server { listen 8080 proxy_protocol; server_name b; } }"
    }

    // The cache.
    "E350" BAD_CACHE_PATH "a cache that cannot be used as it is written" {
        "A `proxy_cache_path` needs a `keys_zone` with a name and a size, and each of its parameters a \
         value that makes sense; the message names what does not.",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one; }",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; }"
    }
    "E351" OVERLAPPING_CACHES "two caches in one directory" {
        "Each cache removes from its directory what it does not know; two of them would remove each \
         other's files.",
        "http { proxy_cache_path /var/cache/openclaw keys_zone=one:10m; proxy_cache_path /var/cache/openclaw/two keys_zone=two:10m; }",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; proxy_cache_path /var/cache/openclaw/two keys_zone=two:10m; }"
    }
    "E352" CACHE_UNWRITABLE "a directory that a cache cannot write to" {
        "The directory of a cache is made when the program starts, with all directories above it. It \
         must be possible to make it, or to write to it if it is there.",
        "",
        ""
    }
    "E360" UNKNOWN_CACHE_ZONE "a cache that is not defined" {
        "`proxy_cache` names the zone of a `proxy_cache_path`, which stands in `http {}`.",
        "http { server { location / { proxy_pass http://10.0.0.1; proxy_cache one; } } }",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location / { proxy_pass http://10.0.0.1; proxy_cache one; } } }"
    }
    "E361" BAD_CACHE_VALID "a lifetime of answers that cannot be read" {
        "`proxy_cache_valid` takes statuses from 100 to 599, or `any`, and last a time. A time alone is \
         that of 200, 301 and 302.",
        "http { server { location / { proxy_pass http://10.0.0.1; proxy_cache_valid 10m 200; } } }",
        "http { server { location / { proxy_pass http://10.0.0.1; proxy_cache_valid 200 10m; } } }"
    }
    "E362" BAD_CACHE_NAME "a name that a cache cannot have" {
        "The name stands in the field `Cache-Status` of answers (RFC 9211), where it is a token.",
        "http { server { location / { proxy_pass http://10.0.0.1; proxy_cache_status \"my cache\"; } } }",
        "http { server { location / { proxy_pass http://10.0.0.1; proxy_cache_status my-cache; } } }"
    }
    "W360" CACHE_WITHOUT_BUFFERING "a cache in which nothing is stored" {
        "As in nginx an answer that is passed on without buffering is not stored.",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location / { proxy_pass http://10.0.0.1; proxy_cache one; proxy_buffering off; } } }",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location / { proxy_pass http://10.0.0.1; proxy_cache one; } } }"
    }
    "W400" SLICES_NOT_STORED "slices that are not stored" {
        "With `slice` an answer is asked for in parts: `$slice_range` tells which one, to the peer in \
         the field `Range`, and to the cache in its key. If the key lacks it, parts could not be told \
         apart, and none is stored; if the peer is not told, it sends the whole.",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location / { proxy_pass http://10.0.0.1; proxy_cache one; slice 1m; } } }",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location / { proxy_pass http://10.0.0.1; proxy_cache one; slice 1m; proxy_cache_key $uri$is_args$args$slice_range; proxy_set_header Range $slice_range; } } }"
    }
    "W366" CACHE_PARAMETER_WITHOUT_EFFECT "a parameter of a cache without a meaning here" {
        "What is being stored stands in the directory of its cache from the start, never in \
         `proxy_temp_path`, from where it might have to be copied. Purging removes what it names at once \
         for whoever asks; the files follow at the pace of `manager_files` and its like.",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m use_temp_path=on; }",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; }"
    }
    "W367" PAGES_CACHED_AS_FILES "pages that a cache takes for files" {
        "Somebody is sent to `/account/x.css`: the origin answers with their account, and a cache that goes by the end of the path stores it for all. What was asked for with a cookie and is a page where the path ends like a file is not stored, unless `proxy_cache_check_type off` says otherwise.",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location ~ \\.(css|js)$ { proxy_cache one; proxy_cache_check_type off; proxy_pass http://127.0.0.1:9; } } }",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location ~ \\.(css|js)$ { proxy_cache one; proxy_pass http://127.0.0.1:9; } } }"
    }
    "W368" PATHS_SHARE_CACHE "paths that share what is cached" {
        "`$uri` is the path after `%2f`, `%3b` and `..` were resolved. A `proxy_pass` without a path sends it on as the client wrote it, so that an origin may see another page in `/a%2f..%2fb` than in `/b`, while both have one key: whoever comes first chooses what all get.",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location / { proxy_cache one; proxy_cache_key $host$uri$is_args$args; proxy_pass http://127.0.0.1:9; } } }",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location / { proxy_cache one; proxy_cache_key $host$request_uri; proxy_pass http://127.0.0.1:9; } } }"
    }

    // Who may pass.
    "E320" BAD_THROTTLE "a throttle of guesses that cannot be used as it is written" {
        "`auth_throttle` says how many wrong passwords of one address are borne in a time; more are \
         answered with 429 until the time is over. A name gets ten times as many, from wherever.",
        "http { server { auth_throttle 0 1m; } }",
        "http { server { auth_throttle 20 10m; } }"
    }
    "E321" NO_PATH "not the path of a location" {
        "`auth_request` and `mirror` make a request inside of the same server; they name its path. What \
         that location does with it, usually a `proxy_pass` to another program, stands there.",
        "http { server { location / { auth_request http://127.0.0.1:9091/; } } }",
        "http { server { location / { auth_request /auth; } location = /auth { internal; proxy_pass http://127.0.0.1:9091; } } }"
    }
    "E322" MIXED_SIGNATURES "two ways to sign links in one place" {
        "`secure_link_secret` signs the link itself; `secure_link` and `secure_link_md5` sign what they say. \
         A place has one of them.",
        "http { server { location / { secure_link_secret word; secure_link $arg_md5; secure_link_md5 \"$uri word\"; } } }",
        "http { server { location / { secure_link $arg_md5; secure_link_md5 \"$uri word\"; } } }"
    }
    "E323" BAD_REFERER "referring sites that cannot be used as they are written" {
        "`valid_referers` names hosts, with a path if need be, or expressions behind `~`. `none` and \
         `blocked` say what holds for requests without a site, and stand beside the name of one.",
        "http { server { valid_referers none blocked; } }",
        "http { server { valid_referers none blocked example.com *.example.com; } }"
    }
    "E324" NO_TOKEN_KEYS "tokens are asked for and no keys are known" {
        "`auth_jwt` believes tokens that are signed with a key of `auth_jwt_key_file`, a JSON web key set. \
         Without one no token could be believed.",
        "http { server { listen 127.0.0.1:80; auth_jwt api; } }",
        "http { server { listen 127.0.0.1:80; auth_jwt api; auth_jwt_key_file keys.json; } }"
    }
    "E325" BAD_REQUIRE "a status that a refusal cannot have" {
        "`error=` of `auth_require` and `auth_jwt_require` is a status from 400 to 599.",
        "http { server { auth_require $arg_key error=200; } }",
        "http { server { auth_require $arg_key error=403; } }"
    }
    "E326" BAD_LOGIN_PROVIDER "a provider of logins that cannot be used as it is written" {
        "An `oidc_provider` needs the `issuer` and a `client_id`, and each of its lines a value that makes \
         sense; the message names what does not.",
        "http { oidc_provider id { issuer https://id.example.com; } }",
        "http { oidc_provider id { issuer https://id.example.com; client_id proxy; } }"
    }
    "E327" UNKNOWN_LOGIN_PROVIDER "a provider of logins that is not defined" {
        "`auth_oidc` names an `oidc_provider` of the `http` block, or is `off`.",
        "http { server { auth_oidc nobody; } }",
        "http { server { auth_oidc off; } }"
    }
    "E328" BAD_PLACE "an entry of `geoip2` that asks for nothing" {
        "An entry of `geoip2` is `auto_reload` with a time, or a variable with the names on the way to a \
         value of the database, such as `country iso_code`; `default=` and `source=` may stand before them.",
        "http { geoip2 places.mmdb { $country default=--; } }",
        "http { geoip2 places.mmdb { $country default=-- country iso_code; } }"
    }
    "E336" BAD_AUTO_BAN "a rule of bans that cannot be used as it is written" {
        "`auto_ban` says how many answers, of which statuses, in which time keep an address out, and for how \
         long. `login` in `on=` is a wrong password or a forged token. `auto_ban_except` names addresses and \
         networks.",
        "http { server { auto_ban 10 in=10m; } }",
        "http { server { auto_ban 10 in=10m for=1h on=login,403,444; auto_ban_except 192.0.2.0/24; } }"
    }
    "E337" SHARED_LOGIN_PATH "two logins with one path" {
        "Whoever comes back from a provider is known by the path: two providers of one server need a \
         `redirect_uri` each, and a `logout_uri` each if they have one.",
        "http { oidc_provider a { issuer https://a.example.com; client_id p; } oidc_provider b { issuer https://b.example.com; client_id p; } server { location /a { auth_oidc a; } location /b { auth_oidc b; } } }",
        "http { oidc_provider a { issuer https://a.example.com; client_id p; } oidc_provider b { issuer https://b.example.com; client_id p; redirect_uri /b_callback; } server { location /a { auth_oidc a; } location /b { auth_oidc b; } } }"
    }
    "E338" BAD_HEADER_EDIT "a change of header fields that cannot be made" {
        "`more_set_headers` and its like take options (`-s` with statuses, `-t` with media types, `-a` to add \
         one more, `-r` to change what is there) and fields as `\"Name: value\"`, each one word in quotes. Fields \
         that say where a message ends, or that are about the connection, are written as the message needs \
         them; the host of a request has chosen its server already.",
        "http { server { more_clear_headers Content-Length; } }",
        "http { server { more_clear_headers X-Powered-By X-AspNet-*; more_set_headers \"Server: mine\"; } }"
    }
    "E370" BAD_LLM_PROVIDER "a provider of language models that cannot be used as it is written" {
        "An `llm_provider` has a name that targets can call it by, and an address that begins with `http://` or \
         `https://` and ends with a path; the rest is said by the lines inside.",
        "http { llm_provider ours { base_url https://llm.example.com/v1?a=b; } }",
        "http { llm_provider ours { base_url https://llm.example.com/v1; } }"
    }
    "E371" BAD_LLM_MODEL "a model that nothing answers for" {
        "An `llm_model` has a name that clients ask for and at least one `target`: the name of an \
         `llm_provider`, a slash, and what that provider calls the model.",
        "http { llm_provider ours { } llm_model chat { target theirs/gpt; } }",
        "http { llm_provider ours { } llm_model chat { target ours/gpt; } }"
    }
    "E375" BAD_LLM_TARGET "a target of a model that is not written as it has to be" {
        "`on=` takes the causes for which a target is asked when another one failed: `429`, `5xx`, `timeout`, \
         `circuit`, `context`, `budget`. `max_context=` is a number of tokens. Only `strategy affinity` takes a second \
         word: what the calls have in common that go to the same target.",
        "http { llm_provider ours { } llm_model chat { target ours/a; target ours/b on=500; } }",
        "http { llm_provider ours { } llm_model chat { target ours/a; target ours/b on=5xx,timeout; } }"
    }
    "E376" UNKNOWN_LLM_MODEL "a route to a model that is not there" {
        "`llm_route` names an `llm_model`, or the model of an `llm_provider` as `PROVIDER/MODEL`, which answers \
         in the place of the one that a client asks for.",
        "http { llm_provider ours { } llm_route big; server { location / { llm_gateway; } } }",
        "http { llm_provider ours { } llm_route ours/big; server { location / { llm_gateway; } } }"
    }
    "E410" BAD_LLM_REGION "a region that cannot be one" {
        "`region` of an `llm_provider` and `region=` of a `target` say in one word where is computed what \
         `llm_region` keeps in that region; several regions are written there with commas.",
        "http { llm_provider ours { region \"the EU\"; } }",
        "http { llm_provider ours { region eu; } }"
    }
    "E411" BAD_LLM_DOWNGRADE "a share of a budget that is none" {
        "`llm_downgrade` names how much of one of its budgets a key has used, in percent, and the model that \
         answers from then on.",
        "http { llm_provider ours { } llm_downgrade 0.8 ours/mini; server { location / { llm_gateway; } } }",
        "http { llm_provider ours { } llm_downgrade 80% ours/mini; server { location / { llm_gateway; } } }"
    }
    "E412" BAD_LLM_MOST_CALLS "a number of calls at once that is none" {
        "`max_connections` of an `llm_provider` says how many calls it gets at once: a number, 0 for any number, or \
         `auto`. Then the number follows how soon the answers begin, from `min=` (4) to `max=` (1000).",
        "http { llm_provider ours { max_connections auto min=9 max=3; } }",
        "http { llm_provider ours { max_connections auto min=3 max=9; } }"
    }
    "W410" LLM_REGION_WITHOUT_PROVIDER "a region in which no provider is" {
        "`llm_region` lets nobody answer who is elsewhere or does not say where it is. Where no provider and no \
         target is in the region, every call is refused (503 `region_unavailable`).",
        "http { llm_provider ours { } server { location / { llm_gateway; llm_region eu; } } }",
        "http { llm_provider ours { region eu; } server { location / { llm_gateway; llm_region eu; } } }"
    }
    "W375" LLM_WITHOUT_EFFECT "a word about a model that changes nothing" {
        "Backups are asked when the targets that are none cannot answer. Where all are backups they are asked \
         as written.",
        "http { llm_provider ours { } llm_model chat { target ours/a backup; } }",
        "http { llm_provider ours { } llm_model chat { target ours/a; target ours/b backup; } }"
    }
    "E385" BAD_LLM_LIMIT "a limit of language models that cannot be used as it is written" {
        "`llm_limit` names a group of keys, a gateway or a model, then what all its calls together may use: \
         `rpm=` calls and `tpm=` tokens a minute, `concurrency=` calls at once, and budgets in dollars.",
        "http { llm_limit group family rpm=0; }",
        "http { llm_limit group family rpm=60 tpm=200k budget=5/day; }"
    }
    "E386" BAD_LLM_PRICE "a price of a model that is none" {
        "`llm_price` names a model, then what it costs: in dollars per million tokens, and for `search=`, \
         `image=` and `request=` in dollars each. What is not said is not taken from the built-in table.",
        "http { llm_price local/llama in=free; }",
        "http { llm_price local/llama in=0 out=0; }"
    }
    "E387" BAD_LLM_TIMEZONE "a time zone that is not known" {
        "`llm_timezone` says whose midnight ends the day of a budget, by the name of the IANA's database.",
        "http { llm_timezone Berlin; }",
        "http { llm_timezone Europe/Berlin; }"
    }
    "E388" BAD_ALERT "an alert that cannot be told as it is written" {
        "`alert` names who is told and a URL, or where one is (`file:PATH`), then perhaps `format=json`, `slack`, \
         `discord` or `ntfy`, up to two `secret=` that sign it, the `events=` that it is for, and `private` for \
         a receiver in a private network. Letters go by `smtps://` or `smtp://` (STARTTLS; none with `plain`) \
         `from=` and `to=` addresses, with `user=` and `password=` if the server wants them.",
        "http { alert ops hooks.example.com; }",
        "http { alert ops https://hooks.example.com/x secret=file:/etc/openclaw/hook.key; }"
    }
    "E398" BAD_ALERT_RULE "a rule of alerts that cannot be meant" {
        "`alert_spike` takes dollars and perhaps `tokens=`: what is used in ten minutes without anybody being \
         told, or `off`. `alert_errors` takes `all`, `provider`, `model` or `key`, then a number of failures or \
         a part like `25%`, and perhaps `least=` calls, `within=` 10 s to 1 h, and `attempts`, which counts \
         each provider that was asked and not what clients were told.",
        "http { alert_errors provider many; }",
        "http { alert_errors provider 25% least=20 within=5m attempts; }"
    }
    "W385" UNUSED_LLM_LIMIT "a limit of a model that nobody can ask for" {
        "`llm_limit model` takes the name that clients ask for: that of an `llm_model`, or of a provider and \
         its model with a slash between.",
        "http { llm_provider ours { } llm_model chat { target ours/gpt; } llm_limit model gpt rpm=60; }",
        "http { llm_provider ours { } llm_model chat { target ours/gpt; } llm_limit model chat rpm=60; }"
    }
    "E396" BAD_LLM_CACHE "answers that cannot be kept as it is written" {
        "`llm_cache` takes `off` alone, or who shares answers (`key`, `group` or `global`), then perhaps \
         `max_age=`, how old an answer may be, and `wait=`, how long is waited for the same call of another.",
        "http { llm_provider ours { } server { location /v1/ { llm_gateway; llm_cache key max_age=soon; } } }",
        "http { llm_provider ours { } server { location /v1/ { llm_gateway; llm_cache key max_age=1h; } } }"
    }
    "E403" BAD_LLM_LOG "a log of bodies that cannot be written as it is said" {
        "`llm_log body` takes `off` alone, or how what was asked and answered is written down (`hash`, \
         `redacted` or `full`), then perhaps `retention=`, after how many days it is removed.",
        "http { llm_provider ours { } server { location /v1/ { llm_gateway; llm_log body hash retention=1h; } } }",
        "http { llm_provider ours { } server { location /v1/ { llm_gateway; llm_log body hash retention=7d; } } }"
    }
    "W403" BODIES_IN_CLEAR "what people ask is written down as it is" {
        "`llm_log body full` keeps every prompt and every answer on the disk: passwords, letters, illnesses. \
         `redacted` leaves out what looks like keys, addresses and numbers of people; `hash` says only \
         whether two calls were the same.",
        "http { llm_provider ours { } server { location /v1/ { llm_gateway; llm_log body full; } } }",
        "http { llm_provider ours { } server { location /v1/ { llm_gateway; llm_log body redacted; } } }"
    }
    "W396" UNUSED_LLM_CACHE "answers that are kept for keys where nobody has one" {
        "`llm_cache key` keeps answers for each key. Where `llm_gateway anybody` asks for none, nothing is \
         kept; `llm_cache global` gives everybody's answers to everybody.",
        "http { llm_provider ours { } server { location /v1/ { llm_gateway anybody; llm_cache key; } } }",
        "http { llm_provider ours { } server { location /v1/ { llm_gateway anybody; llm_cache global; } } }"
    }
    "W370" NO_LLM_PROVIDER "a gateway that nobody stands behind" {
        "`llm_gateway` passes calls on to the providers that `llm_provider` blocks name. Without one every \
         call is answered with 404.",
        "http { server { location /v1/ { llm_gateway; } } }",
        "http { llm_provider ours { } server { location /v1/ { llm_gateway; } } }"
    }
    "W320" PASSWORDS_IN_CLEAR "passwords that everybody on the way can read" {
        "A password is sent with every request. Without TLS whoever carries the request reads it: the \
         wireless network, the provider.",
        "http { server { listen 80; auth_basic off; location / { auth_basic Private; auth_basic_user_file /dev/null/users$host; } } }",
        "http { server { listen 127.0.0.1:80; location / { auth_basic Private; auth_basic_user_file /dev/null/users$host; } } }"
    }
    "W321" NO_PASSWORD_FILE "a place that asks for a password and knows none" {
        "`auth_basic` compares with the file that `auth_basic_user_file` names. Without one nginx lets \
         everybody in; here nobody gets in.",
        "http { server { listen 127.0.0.1:80; auth_basic Private; } }",
        "http { server { listen 127.0.0.1:80; auth_basic Private; auth_basic_user_file /dev/null/users$host; } }"
    }
    "W322" PASSWORD_FILE_UNREADABLE "a file of passwords that cannot be read" {
        "The file is read when somebody logs in, and again when it changes. As long as it cannot be \
         read, requests are answered with 403 if it is missing and with 500 otherwise.",
        "http { server { listen 127.0.0.1:80; auth_basic Private; auth_basic_user_file /dev/null/users; } }",
        "http { server { listen 127.0.0.1:80; auth_basic Private; auth_basic_user_file /dev/null/users$host; } }"
    }
    "W323" PASSWORD_FORM "a password in a form that is refused" {
        "Passwords in the oldest form of `htpasswd -d` and `crypt` (DES) are compared by their first \
         eight characters and guessed within hours. Whoever has one cannot log in until it is set anew.",
        "",
        ""
    }

    // Certificates that are got automatically.
    "E220" BAD_ISSUER "an issuer of certificates that cannot be used as it is written" {
        "An `acme_issuer` needs the address of the authority's directory, and each of its parameters a \
         value that makes sense; the message names what does not.",
        "http { acme_issuer ca { contact admin@example.com; } }",
        "http { acme_issuer ca { uri https://acme.example.com/directory; } }"
    }
    "E221" UNKNOWN_ISSUER "an issuer that is not defined" {
        "Certificates are got from an `acme_issuer` of this name in `http`; `letsencrypt` is there without \
         being defined.",
        "http { server { listen 8443 ssl; server_name a.example.com; acme letsencrypd; } }",
        "http { server { listen 8443 ssl; server_name a.example.com; acme letsencrypt; } }"
    }
    "E222" NO_IDENTIFIER "no name that the certificate could be for" {
        "A certificate is for names of DNS and for addresses. Regular expressions and names with `*` at \
         their end cannot be in one, and a name with `*.` before it needs `challenge dns-01`.",
        "http { server { listen 8443 ssl; server_name *.example.com; acme_certificate letsencrypt; } }",
        "http { server { listen 8443 ssl; server_name example.com; acme_certificate letsencrypt; } }"
    }
    "E223" BAD_KEY_KIND "a kind of key that is not known" {
        "Keys of certificates are `ecdsa:256`, `ecdsa:384`, `ecdsa:521`, `rsa:2048`, `rsa:3072` or \
         `rsa:4096`.",
        "http { server { listen 8443 ssl; acme_certificate letsencrypt a.example.com key=rsa:512; } }",
        "http { server { listen 8443 ssl; acme_certificate letsencrypt a.example.com key=rsa:2048; } }"
    }
    "E224" NO_ACME_CERTIFICATE "`$acme_certificate` where no certificate is got" {
        "`$acme_certificate` stands for what `acme_certificate` gets in the same server.",
        "http { server { listen 8443 ssl; ssl_certificate $acme_certificate; \
         ssl_certificate_key $acme_certificate_key; } }",
        "http { server { listen 8443 ssl; acme_certificate letsencrypt a.example.com; \
         ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; } }"
    }
    "E225" BAD_ON_DEMAND "certificates on demand that cannot be got as it is written" {
        "`acme_on_demand` has `allow=PATTERN` (any number of them; a name has to match one), `ask=URL` (a \
         service of yours that answers `?domain=NAME` with 2xx for names that may have one; where both \
         are written, both must allow it), `limit=COUNT/TIME` (names that are new), `most=COUNT` (names \
         that are held), `inactive=TIME` (after which a name that nobody asks for is forgotten) and \
         `wait=TIME` (how long a handshake waits). Addresses and names without a dot get none.",
        "http { server { listen 8443 ssl; server_name example.com; acme_on_demand allow=*.example.com limit=20; } }",
        "http { server { listen 8443 ssl; server_name example.com; acme_on_demand allow=*.example.com limit=20/1h; } }"
    }
    "W225" ON_DEMAND_WITHOUT_RULE "certificates on demand for nobody" {
        "Who asks for a name could make the authority count one order after the other, so a certificate \
         is got on demand only for names that `allow=` or `ask=` admit, on servers that listen with \
         `ssl`, and from issuers that `acme` names.",
        "http { server { listen 8443 ssl; server_name example.com; acme_on_demand limit=5/1h; } }",
        "http { server { listen 8443 ssl; server_name example.com; acme_on_demand allow=*.example.com limit=5/1h; } }"
    }
    "W220" NAME_LEFT_OUT "a name of a server that its certificate is not for" {
        "A public authority certifies names and addresses that it can look at. A regular expression, a \
         name with `*` at its end, a wildcard without `challenge dns-01` and an address beside names are \
         left out; clients that ask for them get a certificate for the other names.",
        "http { server { listen 8443 ssl; server_name example.com ~^x; } }",
        "http { server { listen 8443 ssl; server_name example.com x.example.com; } }"
    }
    "W221" ACCOUNT_KEY "an account key that is not used" {
        "The key of an account at an authority is `ecdsa:256`, which every authority takes; it has nothing \
         to do with the keys of certificates. Beside `external_account_key` the account has a key that is \
         made for it, and no other one is read.",
        "http { acme_issuer ca { uri https://acme.example.com/directory; account_key rsa:4096; } }",
        "http { acme_issuer ca { uri https://acme.example.com/directory; account_key ecdsa:256; } }"
    }
    "W222" STATE_IS_KEPT "`state_path off` is not followed" {
        "Accounts and certificates that are forgotten at every start are ordered again at every start, \
         until the authority refuses; they are kept in the state directory.",
        "http { acme_issuer ca { uri https://acme.example.com/directory; state_path off; } }",
        "http { acme_issuer ca { uri https://acme.example.com/directory; } }"
    }
    "E340" UNKNOWN_MATCH "a `match` that is not defined" {
        "`match=` of `health_check` names a `match {}` block of `http`, which says what the answer to a \
         check has to be like.",
        "http { server { location / { proxy_pass http://10.0.0.1; health_check match=fine; } } }",
        "http { match fine { status 200; } server { location / { proxy_pass http://10.0.0.1; \
         health_check match=fine; } } }"
    }
    "E341" BAD_MATCH "a test in `match` that cannot be made" {
        "`match {}` holds `status` with statuses and ranges, `header` with a field that is there, missing or \
         has a value, `body` with a pattern, and `require` with variables.",
        "http { match fine { status fine; } }",
        "http { match fine { status 200; } }"
    }
    "E342" NOTHING_TO_CHECK "a check without a group of peers" {
        "`health_check` checks the peers of the group that `proxy_pass` or `grpc_pass` of the same location \
         names. Where the group is computed for each request there is nothing to check beforehand.",
        "http { server { location / { health_check; } } }",
        "http { server { location / { proxy_pass http://10.0.0.1; health_check; } } }"
    }
    "E343" GUARD_VALUE "a limit that is none" {
        "`eject` and `breaker` take `errors=` (failures in a row), `ratio=` (failures in a hundred, with \
         `%`), `volume=` (requests that the ratio needs), `slow=`, `window=`, `open=` and `probes=`; \
         `retry_budget` takes a share with `%` and `min=`.",
        "http { upstream app { server 10.0.0.1; breaker ratio=0.5; } }",
        "http { upstream app { server 10.0.0.1; breaker ratio=50%; } }"
    }
    "W340" CHECKED_TWICE "peers that are checked already" {
        "A group of peers is checked once, whoever uses it. A second `health_check` for the same group is \
         left out.",
        "http { upstream app { server 10.0.0.1; health_check; } server { location / { \
         proxy_pass http://app; health_check; } } }",
        "http { upstream app { server 10.0.0.1; health_check; } server { location / { \
         proxy_pass http://app; } } }"
    }
    "W341" UNCHECKED "peers that are not checked" {
        "A check asks as requests ask: with the fields and the TLS of the first location whose `proxy_pass` \
         names the group. No location names this one.",
        "http { upstream app { server 10.0.0.1; health_check; } server { location / { } } }",
        "http { upstream app { server 10.0.0.1; health_check; } server { location / { \
         proxy_pass http://app; } } }"
    }
    "W342" QUEUE_WITHOUT_LIMIT "a queue in which nobody waits" {
        "Requests wait in the `queue` of a group when all of its peers have as many as `max_conns` allows. \
         Without such a limit there is always room.",
        "http { upstream app { server 10.0.0.1; queue 100; } }",
        "http { upstream app { server 10.0.0.1 max_conns=50; queue 100; } }"
    }
    "W343" EJECT_ALONE "the only peer of a group is never left out" {
        "`eject` leaves out peers that fail while others take their requests; it never leaves out the last \
         one. `breaker` answers at once while the group as a whole does not work.",
        "http { upstream app { server 10.0.0.1; eject; } }",
        "http { upstream app { server 10.0.0.1; breaker; } }"
    }
    "E310" BAD_WINDOW "a window that brotli does not have" {
        "`brotli_window` is how far back brotli looks for repetitions: a power of two from 1k to 16m.",
        "http { brotli on; brotli_window 100k; server { } }",
        "http { brotli on; brotli_window 128k; server { } }"
    }
    "E311" EMPTY_SEARCH "a replacement of nothing" {
        "`sub_filter` replaces its first text by its second one; the first one is not empty.",
        "http { server { sub_filter '' x; } }",
        "http { server { sub_filter http://internal/ /; } }"
    }
    "E312" BAD_ORIGIN "not an origin" {
        "An origin is scheme, host and port as browsers send them: `https://app.example.com`, \
         `http://localhost:3000`. `https://*.example.com` is every name below a domain, `*` everybody, \
         and a regular expression begins with `~`.",
        "http { server { cors app.example.com/; } }",
        "http { server { cors https://app.example.com; } }"
    }
    "E313" OPEN_CREDENTIALS "everybody, with credentials" {
        "With cookies or passwords, any page could read and do what its visitor may. Browsers refuse \
         `*` together with credentials, for origins and for lists. Name who is meant.",
        "http { server { cors * credentials; } }",
        "http { server { cors https://app.example.com credentials; } }"
    }
    "W311" OPEN_ORIGIN "a pattern of origins that is open at an end" {
        "`~example\\.com` also matches `https://example.com.evil.example`. A pattern of origins begins \
         with `^` and ends with `$`.",
        "http { server { cors ~example\\.com; } }",
        "http { server { cors ~^https://example\\.com$; } }"
    }
    "W312" FIELD_WITHOUT_VALUE "a field that is to be set has no value" {
        "`more_set_headers` takes name and value as one word, with a colon between them. A word without a \
         colon takes the field of that name out.",
        "http { server { more_set_headers X-Robots-Tag noindex; } }",
        "http { server { more_set_headers \"X-Robots-Tag: noindex\"; } }"
    }
    "W310" DUPLICATE_MEDIA_TYPE "a media type stands twice" {
        "It is meant once. `text/html` is always among the types that are compressed or searched.",
        "http { gzip on; gzip_types text/html text/css; server { } }",
        "http { gzip on; gzip_types text/css; server { } }"
    }
    "E280" BAD_ZONE "a zone that cannot be made" {
        "A limit counts in a zone, which is a table of keys with a name and a size: `limit_req_zone \
         $binary_remote_addr zone=clients:10m rate=5r/s;`. It has at least 32k; 10m hold 170,000 addresses.",
        "http { limit_req_zone $binary_remote_addr zone=clients rate=5r/s; }",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=5r/s; }"
    }
    "E281" BAD_RATE "a rate that cannot be read" {
        "A rate is a whole number of requests per second or per minute: `rate=5r/s`, `rate=30r/m`. For \
         less than one a second write it per minute.",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=0.5r/s; }",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=30r/m; }"
    }
    "E282" BAD_BURST "a burst that cannot be read" {
        "`burst=` and `delay=` are whole numbers of requests from 1 on. To let no request come ahead of \
         its rate, leave `burst` out.",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=5r/s; \
         limit_req zone=clients burst=0; }",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=5r/s; \
         limit_req zone=clients burst=10; }"
    }
    "E283" UNKNOWN_ZONE "a zone that is not defined" {
        "`limit_req` names a zone of `limit_req_zone`, `limit_conn` one of `limit_conn_zone`; both stand \
         in `http`, before or after their use.",
        "http { limit_req zone=clients; }",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=5r/s; limit_req zone=clients; }"
    }
    "E284" ZONE_TWICE "two zones with the same name" {
        "A zone is one table for the whole process, so its name stands for one key, one size and one rate.",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=5r/s; \
         limit_req_zone $server_name zone=clients:10m rate=50r/s; }",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=5r/s; \
         limit_req_zone $server_name zone=servers:10m rate=50r/s; }"
    }
    "W280" BURST_ON_ZONE "`burst` on the zone" {
        "nginx wants `burst`, `delay` and `nodelay` behind `limit_req`. On the zone they hold here for each \
         `limit_req` that names the zone and has none of them itself.",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=5r/s burst=20 nodelay; }",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=5r/s; \
         limit_req zone=clients burst=20 nodelay; }"
    }
    "W281" ZONE_IN_SERVER "a zone inside of a server" {
        "nginx wants zones in `http`. One that stands in a server is taken as if it stood there: it is one \
         table for all servers.",
        "http { server { limit_req_zone $binary_remote_addr zone=clients:10m rate=5r/s; } }",
        "http { limit_req_zone $binary_remote_addr zone=clients:10m rate=5r/s; server { } }"
    }
    "W290" ROOT_REPEATS_PREFIX "a root that repeats the location" {
        "`root` is put before the whole path of a request, the location's part included; `alias` takes the place of that part.",
        "http { server { location /images/ { root /srv/images; } } }",
        "http { server { location /images/ { alias /srv/images/; } } }"
    }
    "W291" ALIAS_LEADS_OUT "an alias that leads out of its directory" {
        "Behind `location /files` comes whatever follows, so `/files../secret` becomes `/srv/files/../secret`. A location that ends with `/` as its alias does leaves no room for that.",
        "http { server { location /files { alias /srv/files/; } } }",
        "http { server { location /files/ { alias /srv/files/; } } }"
    }
    "W292" REDIRECT_TO_ANY_HOST "a redirect to any host" {
        "A server without a name of its own gets the requests for every name, and `$host` is what the request says. Who can make others ask with a name of his, or poison a cache on the way, decides where they are sent.",
        "http { server { return 301 https://$host$request_uri; } }",
        "http { server { server_name example.com; return 301 https://$host$request_uri; } }"
    }
    "W293" DECODED_REDIRECT "a decoded path in a redirect" {
        "`$uri` is the path after decoding. In nginx an encoded end of a line in it ends the field, and what follows is a field of the client's choice; signs such as `?` and `%` change their meaning in any case. `$request_uri` is what the client sent.",
        "http { server { server_name a.example.com; return 301 https://b.example.com$uri; } }",
        "http { server { server_name a.example.com; return 301 https://b.example.com$request_uri; } }"
    }
    "W294" IF_PITFALL "an `if` that does more than decide" {
        "In a location, `if` makes a place of its own in which a request goes on. What stands beside it, such as `try_files`, holds there no longer, and of several that are true only the last is such a place. It is safe with `return`, `rewrite ... last`, `set` and `break`.",
        "http { server { location / { if ($arg_a) { add_header X-A b; } try_files $uri =404; } } }",
        "http { server { location / { add_header X-A $arg_a; try_files $uri =404; } } }"
    }
    "W295" SLASHES_DIFFER "slashes of location and URL that do not match" {
        "A path behind the address in `proxy_pass` takes the place of what the location matched, letter by letter. If only one of them ends with `/`, one is lost or doubled.",
        "http { server { location /api/ { proxy_pass http://127.0.0.1:9/v1; } } }",
        "http { server { location /api/ { proxy_pass http://127.0.0.1:9/v1/; } } }"
    }
    "W296" PEER_FIELDS_LOST "fields for peers that are lost" {
        "A place with a `proxy_set_header` of its own sends only that one (and the defaults): those of the levels above do not count there.",
        "http { server { proxy_set_header Host $host; location / { proxy_set_header X-A b; proxy_pass http://127.0.0.1:9; } } }",
        "http { server { proxy_set_header Host $host; location / { proxy_set_header Host $host; proxy_set_header X-A b; proxy_pass http://127.0.0.1:9; } } }"
    }
    "W297" FIELDS_LOST "protecting fields that are lost" {
        "A place with an `add_header` of its own sends only that one: those of the levels above do not count there, unless `add_header_inherit merge` says so.",
        "http { server { add_header X-Frame-Options DENY; location / { add_header X-A b; } } }",
        "http { server { add_header X-Frame-Options DENY; location / { add_header_inherit merge; add_header X-A b; } } }"
    }
    "W298" HOSTS_SHARE_CACHE "hosts that share what is cached" {
        "Where a zone serves several hosts, a key without the host gives a client of one what was stored for another.",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { server_name a b; location / { proxy_cache one; proxy_cache_key $request_uri; proxy_pass http://127.0.0.1:9; } } }",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { server_name a b; location / { proxy_cache one; proxy_cache_key $host$request_uri; proxy_pass http://127.0.0.1:9; } } }"
    }
    "W299" COOKIES_CACHED "cookies in a cache" {
        "An answer with `Set-Cookie` is meant for one client, so it is not stored. With `proxy_ignore_headers Set-Cookie` it is, and all clients get the session of the first.",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location / { proxy_cache one; proxy_ignore_headers Set-Cookie; proxy_pass http://127.0.0.1:9; } } }",
        "http { proxy_cache_path /var/cache/openclaw/one keys_zone=one:10m; server { location / { proxy_cache one; proxy_ignore_headers Set-Cookie; proxy_hide_header Set-Cookie; proxy_pass http://127.0.0.1:9; } } }"
    }
    "W300" NO_RESOLVER "a host to be looked up without a resolver" {
        "A `proxy_pass` whose host has a variable in it is looked up for each request, by the servers that `resolver` names. Without them the answer is 502, unless the variable is the name of an `upstream` or an address.",
        "http { server { location / { proxy_pass http://$arg_to; } } }",
        "http { server { resolver 127.0.0.1; location / { proxy_pass http://$arg_to; } } }"
    }
    "W301" CLIENT_CHOOSES_KEY "a limit that clients walk around" {
        "A client writes what it likes into `X-Forwarded-For` and its kin. A limit that counts by them counts nothing; who is believed is said by `set_real_ip_from`, after which `$binary_remote_addr` is the client.",
        "http { limit_req_zone $http_x_forwarded_for zone=a:1m rate=5r/s; }",
        "http { limit_req_zone $binary_remote_addr zone=a:1m rate=5r/s; }"
    }
    "W302" ANYBODY_SATISFIES "a condition that everybody meets" {
        "With `satisfy any` one of the conditions is enough: `allow all` makes the password one that nobody is asked for.",
        "http { server { location / { satisfy any; allow all; } } }",
        "http { server { location / { satisfy any; allow 192.0.2.0/24; deny all; } } }"
    }
    "W303" OPEN_DOT "a dot that is any character" {
        "In a regular expression `.` is any character: `.php$` matches `/sphp` too. A dot is written `\\.`.",
        "http { server { location ~ .php$ { } } }",
        "http { server { location ~ \\.php$ { } } }"
    }
    "W304" NAME_UNPROVEN "a name that nobody proved" {
        "`$remote_user` is the name that stands in `Authorization`, whoever wrote it. Where nobody asks for the password, a peer that believes a field made of it believes every client.",
        "http { server { location / { proxy_set_header X-User $remote_user; proxy_pass http://127.0.0.1:3000; } } }",
        "http { server { location / { proxy_set_header X-User \"\"; proxy_pass http://127.0.0.1:3000; } } }"
    }
    "W305" UNVARYING "compression that caches are not told of" {
        "`Vary: Accept-Encoding` tells a cache between client and server that an answer is compressed for some clients only. It is sent with `gzip_vary on`, for all codings.",
        "http { gzip on; server { listen 80; } }",
        "http { gzip on; gzip_vary on; server { listen 80; } }"
    }
    "W306" PACKED_TEXT "text that is looked for in what is compressed" {
        "`sub_filter` replaces text. A peer that compresses its answers, because the client's `Accept-Encoding` is passed to it, sends none. An empty `Accept-Encoding` asks it not to; `gzip on` compresses here.",
        "http { server { location / { sub_filter a b; proxy_pass http://127.0.0.1:3000; } } }",
        "http { server { location / { sub_filter a b; proxy_set_header Accept-Encoding \"\"; proxy_pass http://127.0.0.1:3000; } } }"
    }
    "W307" NOTHING_TO_STAPLE "stapling without anybody to ask" {
        "`ssl_stapling` sends with the certificate what its authority says of it. Who is asked stands in the certificate; where nobody does, as with Let's Encrypt since 2025, there is nothing to send.",
        "",
        ""
    }
    "W308" TWO_CACHE_CONTROLS "two fields where one is meant" {
        "`add_header` adds a field and replaces none: with a peer that sends `Cache-Control` itself the client gets two, and takes the stricter one of each pair, or any.",
        "http { server { location / { add_header Cache-Control no-store; proxy_pass http://127.0.0.1:3000; } } }",
        "http { server { location / { proxy_hide_header Cache-Control; add_header Cache-Control no-store; proxy_pass http://127.0.0.1:3000; } } }"
    }
    "W309" COUNTED_APART "a number that each worker counts for itself" {
        "Without a `zone` each worker has its own view of an upstream: `max_conns=` and `queue` are for each of them. With a zone they are for all together.",
        "worker_processes 4; http { upstream a { server 127.0.0.1:3000 max_conns=10; } }",
        "worker_processes 4; http { upstream a { zone a 64k; server 127.0.0.1:3000 max_conns=10; } }"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_well_formed_and_explained() {
        let mut names: Vec<_> = CODES.iter().map(|row| row.code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CODES.len());
        for row in CODES {
            let number = row.code.name().strip_prefix("OC-").expect("a prefix");
            assert!(
                number.starts_with(['E', 'W']) && number.len() == 4,
                "{number}"
            );
            assert!(
                number[1..].bytes().all(|byte| byte.is_ascii_digit()),
                "{number}"
            );
            assert!(!row.title.is_empty() && row.text.ends_with('.'), "{number}");
            assert_eq!(row.wrong.is_empty(), row.right.is_empty(), "{number}");
        }
    }

    #[test]
    fn a_code_is_found_by_its_name_in_any_spelling() {
        assert_eq!(Code::parse("oc-e030"), Some(Code::UNKNOWN_DIRECTIVE));
        assert_eq!(Code::parse("W001"), Some(Code::BUILTIN_MIME_TYPES));
        assert_eq!(Code::parse("E999"), None);
        assert!(explain(Code::UNKNOWN_DIRECTIVE).contains("worker_processes"));
    }
}
