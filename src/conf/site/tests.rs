use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::conf::check::check;
use crate::conf::diagnostic::{any_error, render_short};
use crate::conf::diff;
use crate::conf::include::{Loaded, load_texts};
use crate::conf::template::Part;
use crate::conf::typed::Config;
use crate::conf::typed::location::{Handler, LocationKind, Root, Server, ServerName, Statement};
use crate::conf::typed::lower::config::lower;
use crate::conf::typed::proxy;
use proptest::prelude::*;

const MAIN: &str = "/nowhere/openclaw.conf";

fn site(domain: &str, target: &str, path: &str, port: &str) -> Site {
    Site::parse(domain, target, path, port, "", DEFAULT_PORT).expect("it is right")
}

fn load(texts: &HashMap<PathBuf, String>) -> Loaded {
    load_texts(Path::new(MAIN), Path::new("/nowhere"), None, texts.clone())
}

fn one(text: &str) -> HashMap<PathBuf, String> {
    HashMap::from([(PathBuf::from(MAIN), text.to_owned())])
}

/// The configuration with a site added to it.
fn with(
    texts: &HashMap<PathBuf, String>,
    site: &Site,
) -> Result<HashMap<PathBuf, String>, Refused> {
    let addition = add(&load(texts), site)?;
    let changed = addition.texts(Path::new(MAIN), Path::new("/nowhere"), texts);
    let mut after = texts.clone();
    after.extend(changed.expect("a sound edit"));
    Ok(after)
}

fn added(text: &str, site: &Site) -> String {
    with(&one(text), site).expect("added")[Path::new(MAIN)].clone()
}

fn refusal(text: &str, site: &Site) -> String {
    with(&one(text), site).expect_err("refused").to_string()
}

fn lowered(texts: &HashMap<PathBuf, String>) -> Config {
    let mut loaded = load(texts);
    check(&mut loaded);
    let config = lower(&mut loaded, Path::new("/nowhere"), &[]);
    let problems = render_short(&loaded.diagnostics, &loaded.sources);
    assert!(!any_error(&loaded.diagnostics), "{problems}");
    config.expect("no error")
}

#[test]
fn a_site_of_its_own_stands_at_the_end_of_http() {
    let text =
        "events { }\nhttp {\n  # Own.\n  server {\n    listen 80;\n    server_name a;\n  }\n}\n";
    let new = added(text, &site("B.example www.b.example", ":3000", "", ""));
    assert_eq!(
        new,
        "events { }
http {
  # WebSockets: a request that asks for an upgrade takes it along to the backend.
  map $http_upgrade $connection_upgrade {
    default upgrade;
    \"\" \"\";
  }

  # Own.
  server {
    listen 80;
    server_name a;
  }

  server {
    listen 80;
    server_name b.example www.b.example;

    location / {
      proxy_pass http://127.0.0.1:3000;
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }
  }
}
"
    );
}

#[test]
fn a_site_has_a_file_where_a_directory_is_included() {
    let text = "events { }\nhttp {\n    include sites/*.conf;\n}\n";
    let texts = one(text);
    let first = with(&texts, &site("*.b.example", "/srv/b/", "", "")).expect("added");
    let path = Path::new("/nowhere/sites/_.b.example.conf");
    assert_eq!(first[Path::new(MAIN)], text);
    assert_eq!(
        first[path],
        "server {
    listen 80;
    server_name *.b.example;

    location / {
        root /srv/b;
        index index.html;
    }
}
"
    );
    // The new file is part of the configuration: a second location is put into it.
    let second = with(&first, &site("*.b.example", "/srv/c", "/c/", "")).expect("added");
    assert!(second[path].contains("alias /srv/c/;"));
    let other = with(&first, &site("*.b.example", "/srv/c", "", "81")).expect("added");
    assert!(other.contains_key(Path::new("/nowhere/sites/_.b.example-2.conf")));
    // The upgrade's variable is for all sites and stands in the main file.
    let proxied = with(&first, &site("c", "app:81", "", "")).expect("added");
    assert!(proxied[Path::new(MAIN)].contains("map $http_upgrade"));
    assert_eq!(lowered(&proxied).http.servers.len(), 2);
}

#[test]
fn a_location_joins_the_server_with_its_name_and_port() {
    let text = "events { }
http {
    map $http_upgrade $upgraded { default upgrade; '' close; }
    server {
        listen 80;
        server_name A.example b.example;

        location /x/ {
            root /x;
        }

        # The rest.
        location / {
            root /y;
        }
    }
}
";
    let new = added(text, &site("a.example", "http://app/v1/", "/api/", ""));
    let at = new.find("        location /api/ {\n            proxy_pass http://app/v1/;");
    assert!(at.is_some_and(|at| at < new.find("# The rest").expect("kept")));
    assert!(new.contains("Connection $upgraded;"));
    assert_eq!(new.matches("map ").count(), 1);

    let exists = refusal(text, &site("a.example", ":1", "/x/", ""));
    assert_eq!(
        exists,
        "the site has `location /x/` already (/nowhere/openclaw.conf:8)"
    );
    let divided = refusal(text, &site("a.example c.example", ":1", "/z", ""));
    assert!(
        divided.starts_with("`a.example` has a server already"),
        "{divided}"
    );
    // Another port is another server.
    let other = added(text, &site("a.example", ":1", "/x/", "8080"));
    assert!(other.contains("        listen 8080;\n        server_name a.example;"));
    assert!(other.contains("Host $host:$server_port;"));
    let redirects = text.replace("# The rest.", "return 301 https://a.example$request_uri;");
    let answered = refusal(&redirects, &site("a.example", ":1", "/z/", ""));
    assert!(
        answered.contains("`return 301 https://a.example$request_uri`"),
        "{answered}"
    );
}

#[test]
fn fields_that_a_level_around_sets_are_kept() {
    let text = "events { } http { proxy_set_header Host $host; proxy_set_header X-A 'b c'; }";
    let new = added(text, &site("a", ":1", "", ""));
    assert_eq!(new.matches("proxy_set_header").count(), 2);
    let without_host = text.replace("Host $host", "X-Real-IP 1");
    let new = added(&without_host, &site("a", ":1", "", ""));
    assert!(new.contains("proxy_set_header X-A \"b c\";"));
    assert!(new.contains("proxy_set_header X-Real-IP $remote_addr;"));
}

#[test]
fn the_usual_port_is_one_where_the_configuration_listens() {
    let usual = |servers: &str| {
        usual_port(&load(&one(&format!(
            "events {{ }}\nhttp {{ {servers} }}\n"
        ))))
    };
    assert_eq!(usual_port(&load(&one(""))), 80);
    assert_eq!(usual(""), 80);
    assert_eq!(usual("server { }"), 80);
    assert_eq!(usual("server { listen 8080 default_server; }"), 8080);
    assert_eq!(
        usual("server { listen 443 ssl; listen [::]:8081; listen 8080; }"),
        8081
    );
    assert_eq!(
        usual("server { listen 8080; } server { listen 127.0.0.1:80; }"),
        80
    );
    assert_eq!(
        usual("server { listen 8080; } server { listen 10.0.0.1; }"),
        80
    );
    assert_eq!(usual("server { listen 443 ssl; listen unix:/a.sock; }"), 80);
    let site = Site::parse(
        "a.example",
        ":1",
        "",
        "",
        "",
        usual("server { listen 8080; }"),
    );
    assert_eq!(site.expect("it is right").port, 8080);
}

#[test]
fn a_new_server_listens_where_the_others_do() {
    let listen = |lines: &str| {
        let text = format!("events {{ }} http {{ server {{ {lines} }} }}");
        let new = added(&text, &site("n.example", "/srv/n", "", ""));
        let own = &new[new.rfind("server {").expect("there")..];
        let lines = own.lines().filter(|line| line.contains("listen"));
        lines.map(str::trim).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(listen(""), "listen 80;");
    assert_eq!(listen("listen 81;"), "listen 80;");
    assert_eq!(
        listen("listen *:80 default_server; listen [::]:80;"),
        "listen 80; listen [::]:80;"
    );
    assert_eq!(
        listen("listen 10.0.0.1; listen 127.0.0.1:80;"),
        "listen 10.0.0.1:80;"
    );
    assert_eq!(listen("listen 127.0.0.1:80;"), "listen 127.0.0.1:80;");
    assert_eq!(listen("listen unix:/a.sock;"), "listen 80;");
}

#[test]
fn a_public_name_is_asked_with_tls_unless_somebody_says_otherwise() {
    let text = "events { }\nhttp { server { listen 80; listen [::]:80; server_name x; } }\n";
    let secure = |https: &str| {
        let site = Site::parse("shop.eu", "/srv/s", "", "", https, DEFAULT_PORT);
        added(text, &site.expect("it is right"))
    };
    let redirected = secure("");
    assert_eq!(secure("redirect"), redirected);
    assert!(secure("HSTS").contains("hsts on;"));
    let both = secure("both");
    assert!(both.contains("listen 443 ssl;") && !both.contains("return 301"));
    let plain = secure("off");
    assert!(!plain.contains("ssl") && !plain.contains("return 301"));
    for text in [&redirected, &secure("hsts"), &both, &plain] {
        lowered(&one(text));
    }
    // In a file of its own it is seen as it is.
    let texts = one("events { }\nhttp {\n    include sites/*.conf;\n}\n");
    let site = Site::parse("shop.eu", "/srv/s", "", "", "", DEFAULT_PORT).expect("right");
    let file = Path::new("/nowhere/sites/shop.eu.conf");
    assert_eq!(
        with(&texts, &site).expect("added")[file],
        "server {
    listen 80;
    server_name shop.eu;

    return 301 https://$host$request_uri;
}

server {
    listen 443 ssl;
    server_name shop.eu;

    location / {
        root /srv/s;
        index index.html;
    }
}
"
    );
    assert!(redirected.contains("listen [::]:443 ssl;"), "{redirected}");
    // Another path goes to the server with TLS, not to the one that leads there.
    let more = Site::parse("shop.eu", "/srv/t", "/t/", "", "", DEFAULT_PORT).expect("right");
    let more = added(&redirected, &more);
    let at = more.find("alias /srv/t/;").expect("added");
    assert!(more[..at].rfind("443 ssl") > more[..at].rfind("return 301"));
}

#[test]
fn names_that_no_authority_certifies_stay_without_tls() {
    for (name, expected) in [
        ("example.org", Https::Redirect),
        ("a.b.co.uk", Https::Redirect),
        ("nas.lan", Https::Off),
        ("localhost", Https::Off),
        ("192.0.2.1", Https::Off),
        ("*.example.org", Https::Off),
        ("www.example.*", Https::Off),
        (".example.org", Https::Off),
    ] {
        let names = [Name::parse(name).expect(name)];
        assert_eq!(Https::suited(&names, DEFAULT_PORT), expected, "{name}");
        assert_eq!(Https::suited(&names, 8080), Https::Off, "{name}");
    }
}

#[test]
fn a_site_without_tls_gets_it_only_where_that_is_said() {
    let text = "events { } http { server { listen 80; server_name shop.eu; root /x; } }";
    let site =
        |https: &str| Site::parse("shop.eu", ":1", "/a/", "", https, DEFAULT_PORT).expect("right");
    assert!(!added(text, &site("")).contains("ssl"));
    let both = added(text, &site("both"));
    assert_eq!(both.matches("server_name").count(), 1);
    assert!(
        both.contains("listen 80;") && both.contains("listen 443 ssl;"),
        "{both}"
    );
    lowered(&one(&both));
    let told = refusal(text, &site("redirect"));
    assert!(told.contains("has a server without TLS"), "{told}");
    let wrong = Site::parse("a.eu", ":1", "", "8080", "both", DEFAULT_PORT);
    assert_eq!(wrong.expect_err("refused")[0].field, Field::Port);
    let elsewhere = Site::parse("a.eu", ":1", "", "", "both", 8080).expect("right");
    assert_eq!(elsewhere.port, DEFAULT_PORT);
    let wrong = Site::parse("a.eu", ":1", "", "", "maybe", DEFAULT_PORT);
    assert_eq!(wrong.expect_err("refused")[0].field, Field::Https);
}

#[test]
fn a_name_of_the_upgrade_that_is_taken_is_left_alone() {
    let text = "events { } http { map $scheme $connection_upgrade { default close; } }";
    let new = added(text, &site("a", ":1", "", ""));
    assert!(new.contains("map $http_upgrade $connection_upgrade_2 {"));
    assert!(new.contains("Connection $connection_upgrade_2;"));
    lowered(&one(&new));
}

#[test]
fn an_empty_file_becomes_a_configuration() {
    let new = added("# Nothing yet.\n", &site("a", ":1", "", ""));
    assert!(new.starts_with("# Nothing yet.\n"));
    assert_eq!(lowered(&one(&new)).http.servers.len(), 2);
}

#[test]
fn what_was_typed_is_told_with_its_place() {
    let problem = |domain: &str, target: &str, path: &str, port: &str| {
        let problems =
            Site::parse(domain, target, path, port, "", DEFAULT_PORT).expect_err("refused");
        let all = [domain, target, path, port];
        let shown = problems.iter().map(|problem| {
            let typed = all[problem.field as usize];
            format!("{}: {problem}", &typed[problem.range.clone()])
        });
        shown.collect::<Vec<_>>().join("\n")
    };
    let domain = |text: &str| problem(text, ":1", "", "");
    assert_eq!(domain("a; b"), ";: `;` cannot stand in a name");
    assert_eq!(
        domain("a.example http://b.example/x"),
        "http://b.example/x: a name is wanted, not a URL (hint: write `b.example`)"
    );
    assert_eq!(
        domain("a b\u{fc}.example"),
        "\u{fc}: `\u{fc}` is not ASCII (hint: write the name as browsers send it, with `xn--`)"
    );
    assert_eq!(
        domain("a:80"),
        ":80: the port is not part of the name (hint: the port has a field of its own)"
    );
    for name in [
        "", " ", "a..b", "*", "a.*.b", "*a", "-a", "a-", "a\nb", "a\"", "$a", "_", "a.", "*.", ".",
        "a\u{0}", "a{b", "a'", "a a",
    ] {
        assert!(
            Site::parse(name, ":1", "", "", "", DEFAULT_PORT).is_err(),
            "{name}"
        );
    }
    for name in [
        "a",
        "*.a.b",
        ".a.b",
        "a.*",
        "xn--bcher-kva.example",
        "10.0.0.1",
        "a_b",
    ] {
        assert_eq!(Name::parse(name).expect("a name").as_str(), name);
    }
    let target = |text: &str| problem("a", text, "", "");
    assert_eq!(target("h:1;"), ";: `;` cannot stand in a target here");
    assert_eq!(
        target("http://$host"),
        "$: variables cannot be used in a target here"
    );
    assert_eq!(
        target("3000"),
        "3000: a number alone is no address (hint: write `:3000` for a port of this machine)"
    );
    assert_eq!(
        target("ftp://a"),
        "ftp://a: a target speaks HTTP (hint: write `http://host:port`)"
    );
    assert_eq!(
        target("::1"),
        "::1: an IPv6 address stands in brackets (hint: for example `[::1]:3000`)"
    );
    for text in [
        "",
        "a b",
        "a:0",
        "a:65536",
        "a:",
        ":",
        "http://",
        "http://:80",
        "/",
        "//",
        "./a",
        "~/a",
        "unix:",
        "unix:a",
        "ftp://a",
        "redirect",
        "redirect a",
        "redirect https://a b",
        "a/b",
        "http://a?b",
        "redirect https://a$b",
        "[::1",
        "[x]:1",
        "a\u{7f}",
        "redirect javascript://a",
        "a:+1",
    ] {
        assert!(Target::parse(text).is_err(), "{text}");
    }
    for (text, meant) in [
        ("app", "http://app"),
        (" app:80 ", "http://app:80"),
        ("[::1]:3000", "http://[::1]:3000"),
        ("HTTP://a/b/", "http://a/b/"),
        ("Https://a/b/", "https://a/b/"),
        ("https://unix:/run/a.sock", "https://unix:/run/a.sock"),
        ("unix:/run/a.sock", "http://unix:/run/a.sock"),
        ("http://unix:/run/a.sock", "http://unix:/run/a.sock"),
        ("/srv/\u{fc}/", "/srv/\u{fc}"),
        ("redirect  https://A.example", "redirect https://A.example"),
    ] {
        assert_eq!(Target::parse(text).expect("a target").to_string(), meant);
    }
    for path in [
        "a", "~ x", "/a b", "/a//b", "/../x", "/a/.", "/%41", "/a?", "/;", "/{",
    ] {
        assert!(UrlPath::parse(path).is_err(), "{path}");
    }
    assert_eq!(
        problem("a", "/srv/x", "/y", "0"),
        "0: a port is a number from 1 to 65535\n\
             /y: the path of a directory ends with a `/` (hint: write `/y/`)"
    );
}

#[test]
fn a_group_has_the_ports() {
    let text = "events { } http { upstream App { server 10.0.0.1; } }";
    let told = refusal(text, &site("a", "app:81", "", ""));
    assert_eq!(
        told,
        "`app` is a group of peers with ports of their own; write `http://app`"
    );
    lowered(&one(&added(text, &site("a", "http://app", "", ""))));
}

#[test]
fn a_peer_over_tls_is_told_its_name_and_verified_if_it_is_on_the_internet() {
    let lines = |target: &str| {
        let text = whole(&site("a.example", target, "", ""));
        lowered(&one(&text));
        ["proxy_ssl_server_name on;", "proxy_ssl_verify on;"].map(|line| text.contains(line))
    };
    assert_eq!(lines("https://api.example.org"), [true, false]);
    assert_eq!(lines("https://api.a-site.org:8443/x"), [true, true]);
    assert_eq!(lines("https://192.168.1.2:8006"), [true, false]);
    assert_eq!(lines("http://api.a-site.org"), [false, false]);
}

#[test]
fn a_site_alone_is_a_whole_configuration() {
    let text = whole(&site("a.example", "127.0.0.1:3000", "", ""));
    let config = lowered(&one(&text));
    assert_eq!(config.http.servers.len(), 2);
    assert!(text.contains("        proxy_pass http://127.0.0.1:3000;\n"));
    assert!(!text.contains("    \n"));
}

/// Is the server what was typed?
fn means(config: &Config, server: &Server, site: &Site) -> Result<(), TestCaseError> {
    let path = site.path.as_str().as_bytes();
    let location = server.locations.iter().find(|location| {
            matches!(&location.kind, LocationKind::Prefix { path: own, .. } if **own == *path)
        });
    let location = location.ok_or_else(|| TestCaseError::fail("no location"))?;
    let settings = &location.settings;
    match &site.target {
        Target::Proxy(url) => {
            let Handler::Proxy(proxy) = &settings.handler else {
                return Err(TestCaseError::fail("not proxied"));
            };
            let proxy::Target::Group { upstream, uri, .. } = &proxy.target else {
                return Err(TestCaseError::fail("no group"));
            };
            let (scheme, rest) = url.split_once("://").expect("as parsed");
            prop_assert_eq!(proxy.tls.is_some(), scheme == "https");
            let group = &config.http.upstreams[*upstream];
            // The group of `https://a` is that of `https://a:443`.
            let usual_port = if scheme == "https" { ":443" } else { "" };
            let named = |name: &str| name.trim_end_matches(usual_port).to_ascii_lowercase();
            let name = &*group.name;
            match rest.strip_prefix("unix:") {
                Some(path) => prop_assert_eq!(name, &*format!("unix:{path}")),
                None => {
                    let (authority, path) = rest.find('/').map_or((rest, None), |at| {
                        (&rest[..at], Some(&rest.as_bytes()[at..]))
                    });
                    prop_assert_eq!(named(name), named(authority));
                    prop_assert_eq!(uri.as_deref(), path);
                }
            }
        }
        Target::Files(directory) => {
            let (root, wanted) = match &settings.root {
                Root::Root(root) => (root, directory.clone()),
                Root::Alias(root) => (root, format!("{directory}/")),
            };
            prop_assert_eq!(root.literal(), Some(wanted.as_bytes()));
        }
        Target::Redirect(url) => {
            let [Statement::Return(answer)] = settings.statements.as_slice() else {
                return Err(TestCaseError::fail("no redirect"));
            };
            prop_assert_eq!(answer.status, 301);
            let parts = answer.text.as_ref().expect("a URL").parts();
            prop_assert_eq!(&parts[0], &Part::Text(url.as_bytes().into()));
            prop_assert!(parts.len() <= 2);
        }
    }
    Ok(())
}

fn word() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        ";",
        "{",
        "}",
        "\"",
        "'",
        "$",
        "$host",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\\",
        "#",
        "\u{a0}",
        "\u{feff}",
        "%00",
        "../",
        "//",
        "*",
        "\u{200b}",
        "\u{1b}",
        "=",
        "~",
        "@",
        "^~",
        "?",
        "|",
        "`",
        "(",
        "a",
        "B",
        "x.example",
        "/",
        ":",
        ".",
        "-",
        "1",
        "[::1]",
        "\u{fc}",
        "unix:",
        "http://",
        "redirect ",
        "https://",
        "; }",
        "return",
        "/srv/",
        ":80",
    ]);
    prop::collection::vec(nasty, 0..6).prop_map(|pieces| pieces.concat())
}

fn domain() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-c]{1,2}(\\.[a-c]{1,3}){0,2}",
        1 => "[a-c.*_ ,-]{1,6}",
        2 => word(),
    ]
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[a-c]{1,2}:[1-9][0-9]{0,3}",
        1 => "https?://[a-c0-9.]{1,3}(:80)?(/[!-~]{0,6})?",
        1 => "https://(unix:/[a-c]{1,2}|a\\.[b-c]{1,2}(:443)?)",
        1 => "/[!-~]{1,8}",
        1 => "unix:/[!-~]{1,8}",
        1 => "redirect https?://[a-c.]{1,3}(/[!-~]{0,6})?",
        2 => word(),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 2 => "/[!-~]{0,6}/?", 1 => "/[a-c]{1,2}/", 1 => word()]
}

const BASES: [&str; 4] = [
    "# First.\nevents { }\nhttp {\n\tinclude sites/*.conf; # theirs\n\n\tserver { listen 80; server_name a a.b; location /b { } } # x\n}\n# Last.",
    "events{}http{server{listen [::]:80;server_name a.a;location ~ x{return 204;}location /c/{}}}",
    "events { }\r\nhttp {\r\n    map $http_upgrade $up { default upgrade; '' close; }\r\n    server {\r\n        server_name b;\r\n    }\r\n    upstream c {\r\n        server 10.0.0.1;\r\n    }\r\n}\r\n",
    "",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_accepted_means_what_was_typed_and_changes_nothing_else(
        domain in domain(),
        target in target(),
        path in path(),
        port in prop::sample::select(vec!["", "80", "8080"]),
        base in prop::sample::select(BASES.to_vec()),
    ) {
        let Ok(site) = Site::parse(&domain, &target, &path, port, "off", DEFAULT_PORT) else {
            return Ok(());
        };
        let texts = one(base);
        let config = lowered(&one(&whole(&site)));
        means(&config, &config.http.servers[0], &site)?;
        let Ok(after) = with(&texts, &site) else {
            return Ok(());
        };
        let config = lowered(&after);
        // Every name has one server, which is what was typed.
        let server = config.http.servers.iter().find(|server| {
            let names: Vec<String> = server.names.iter().map(|name| match name {
                ServerName::Exact(name) => String::from_utf8_lossy(name).into_owned(),
                ServerName::Suffix(name) => format!("*{}", String::from_utf8_lossy(name)),
                ServerName::SelfOrSuffix(name) => String::from_utf8_lossy(name).into_owned(),
                ServerName::Prefix(name) => format!("{}*", String::from_utf8_lossy(name)),
                ServerName::Regex(_) => String::new(),
            }).collect();
            let position = config.http.servers.iter().position(|other| std::sync::Arc::ptr_eq(other, server));
            let port = config.http.listens.iter().any(|listen| {
                listen.servers.iter().any(|server| Some(*server) == position)
                    && matches!(listen.address, crate::conf::typed::listen::Address::Ip(at)
                        if at.port() == site.port || (at.port() == 8000 && site.port == 80))
            });
            port && site.names.iter().all(|name| names.contains(&name.0))
        });
        let server = server.ok_or_else(|| TestCaseError::fail("no server"))?;
        means(&config, server, &site)?;
        // What was there before is there still, byte for byte: only bytes were put in between.
        let new = &after[Path::new(MAIN)];
        let mut rest = new.chars();
        prop_assert!(base.chars().all(|wanted| rest.any(|is| is == wanted)), "{}", new);
        if base.contains('\n') && !base.contains("include") {
            let (old_lines, new_lines): (Vec<_>, Vec<_>) = (
                base.split_inclusive('\n').collect(), new.split_inclusive('\n').collect(),
            );
            for change in diff::changes(&old_lines, &new_lines) {
                prop_assert!(change.old.is_empty(), "{:?} {}", change, new);
            }
        }
        if base.contains("\r\n") {
            prop_assert!(!new.replace("\r\n", "").contains(['\r', '\n']), "{:?}", new);
        }
    }
}
