//! Who may pass: passwords, their files, and those who guess.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::backend::Backend;
use crate::support::client::Answer;
use crate::support::http2_client::Http2Client;
use crate::support::server::{Server, Setup, eventually};

fn guarded(inside: &str, users: &str) -> Setup {
    Setup::http(&format!(
        "server {{
             listen %LISTEN1%;
             auth_basic Private;
             auth_basic_user_file %PREFIX%/users;
             {inside}
             location / {{ return 200; }}
             location /files/ {{ alias %PREFIX%/www/; }}
             location /metrics {{ auth_basic off; metrics; }}
         }}"
    ))
    .file("users", users)
    .file("www/a", "content")
}

fn get(server: &Server, user: &str, password: &str) -> Answer {
    let pair = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
    server.connect(1).ask(&format!(
        "GET /files/a HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {pair}\r\n\r\n"
    ))
}

fn status(server: &Server, user: &str, password: &str) -> u16 {
    get(server, user, password).status
}

#[test]
fn what_keeps_a_user_out_stands_in_the_log_without_the_password() {
    let server = guarded("", "ann:{PLAIN}one\nold:rqXexS6ZhobKA\n").start();
    assert_eq!(status(&server, "ann", "one"), 200);
    let refused = get(&server, "ann", "hunter2");
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.value("WWW-Authenticate"),
        Some("Basic realm=\"Private\"")
    );
    assert_eq!(status(&server, "bob", "hunter2"), 401);
    assert_eq!(status(&server, "old", "hunter2"), 500);
    let prefix = server.site().prefix.clone();
    for line in [
        "user \"ann\": password mismatch, client: 127.0.0.1".to_owned(),
        format!(
            "user \"bob\" was not found in \"{}/users\", client",
            prefix.display()
        ),
        "user \"old\": its password is kept in the form of DES".to_owned(),
    ] {
        eventually(&line, || server.said().contains(&line).then_some(()));
    }
    fs::remove_file(prefix.join("users")).expect("there");
    eventually("the file is missed", || {
        (status(&server, "ann", "one") == 403).then_some(())
    });
    let line = format!(
        "open() \"{}/users\" failed (2: No such file or directory), client",
        prefix.display()
    );
    eventually(&line, || server.said().contains(&line).then_some(()));
    assert!(!server.said().contains("hunter2"));
}

#[test]
fn a_file_that_changes_is_read_again_without_a_reload() {
    let server = guarded("", "ann:{PLAIN}one\n").start();
    assert_eq!(status(&server, "ann", "one"), 200);
    fs::write(server.site().prefix.join("users"), "ann:{PLAIN}another\n").expect("written");
    eventually("the old one is refused", || {
        (status(&server, "ann", "one") == 401).then_some(())
    });
    assert_eq!(status(&server, "ann", "another"), 200);
}

#[test]
fn who_guesses_is_sent_away_for_a_while_and_counted() {
    let server = guarded("auth_throttle 3 1h;", "ann:{PLAIN}one\nbob:{PLAIN}two\n").start();
    assert_eq!(status(&server, "bob", "two"), 200);
    for _ in 0..3 {
        assert_eq!(status(&server, "ann", "x"), 401);
    }
    let answer = get(&server, "ann", "one");
    assert_eq!(answer.status, 429);
    let wait: u64 = answer
        .value("Retry-After")
        .and_then(|wait| wait.parse().ok())
        .expect("told");
    assert!((1..=1200).contains(&wait), "{wait}");
    // Who is in stays in.
    assert_eq!(status(&server, "bob", "two"), 200);
    let metrics = server
        .connect(1)
        .ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        .text();
    for line in [
        "openclaw_logins_total{result=\"ok\"} 1\n",
        "openclaw_logins_total{result=\"failed\"} 3\n",
        "openclaw_logins_total{result=\"throttled\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}

#[test]
fn the_password_is_not_passed_to_a_place_that_asks_nobody() {
    let backend = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%;
            location / { auth_basic a; auth_basic_user_file %PREFIX%/users; proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .file("users", "ann:{PLAIN}one\n")
    .start();
    let answer = server
        .connect(1)
        .ask("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(answer.status, 401);
    assert!(backend.seen().is_empty());
}

#[test]
fn a_costly_password_does_not_hold_up_others() {
    // bcrypt at the cost of 12 takes some tenths of a second.
    let kept = openclaw::access::passwords::hash::make(
        openclaw::access::passwords::hash::NewForm::Bcrypt,
        b"secret",
    )
    .expect("made");
    let server = guarded("", &format!("ann:{kept}\n")).start();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| status(&server, "ann", "secret")))
            .collect();
        for one in all {
            assert_eq!(one.join().expect("asked"), 200);
        }
    });
    assert_eq!(status(&server, "ann", "wrong"), 401);
    assert_eq!(status(&server, "nobody", "wrong"), 401);
}

fn passwd(directory: &Path, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .current_dir(directory)
        .arg("passwd")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is there");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may have refused before it reads.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[test]
fn passwd_makes_changes_verifies_and_takes_out_users() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("users");
    let at = |words: &[&str], input: &str| {
        let output = passwd(directory.path(), words, input);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!said.contains("secret"), "{said}");
        (output.status.success(), said)
    };
    assert!(at(&["users", "ann"], "secret\n").0);
    let mode = path.metadata().expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let text = fs::read_to_string(&path).expect("there");
    assert!(
        text.starts_with("ann:$2y$11$") && !text.contains("secret"),
        "{text}"
    );
    assert!(at(&["users", "--verify", "ann"], "secret").0);
    let (good, said) = at(&["users", "--verify", "ann"], "other\n");
    assert!(
        !good && said.contains("not the password of `ann`"),
        "{said}"
    );

    let text = format!("# ours\n{text}");
    fs::write(&path, &text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).expect("ours");
    assert!(at(&["users", "bob", "--argon2id"], "secret two\n").0);
    let both = fs::read_to_string(&path).expect("there");
    assert!(
        both.starts_with(&text) && both.contains("\nbob:$argon2id$v=19$"),
        "{both}"
    );
    let mode = path.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o604);
    assert!(at(&["users", "--verify", "bob"], "secret two\n").0);
    assert!(at(&["users", "--delete", "bob"], "").0);
    assert_eq!(fs::read_to_string(&path).expect("there"), text);

    for (words, input) in [
        (&["users", "--delete", "bob"][..], ""),
        (&["users", "a:b"], "secret\n"),
        (&["users", "ann"], "\n"),
        (&["nothing", "--verify", "ann"], "secret\n"),
    ] {
        assert!(!at(words, input).0, "{words:?}");
    }
    let left = fs::read_dir(directory.path()).expect("ours").count();
    assert_eq!(left, 1);
}

#[test]
fn passwd_finds_the_file_that_the_configuration_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let conf = directory.path().join("openclaw.conf");
    fs::write(
        &conf,
        "events {} http { server { listen 127.0.0.1:1; auth_basic a; auth_basic_user_file users; } }",
    )
    .expect("written");
    let conf = conf.to_string_lossy();
    let output = passwd(Path::new("/"), &["ann", "-c", &conf], "secret\n");
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(directory.path().join("users")).expect("made");
    assert!(text.starts_with("ann:$2y$"));
}

/// A server that asks `%AUTH%` for everything but `/open/`, as its makers say.
fn asking(auth: &Backend, app: &Backend, ask: &str, here: &str) -> Server {
    Setup::http(&format!(
        "underscores_in_headers on;
         server {{
             listen %LISTEN1%;
             {ask}
             location / {{ {here} proxy_pass http://%APP%; }}
             location /open/ {{ auth_request off; proxy_pass http://%APP%; }}
         }}"
    ))
    .set("AUTH", auth.address())
    .set("APP", app.address())
    .start()
}

/// Lets in who has the cookie `in=yes`, and tells who that is by these fields.
fn gate(refusal: &'static str, told: &'static str) -> Backend {
    Backend::scripted(move |exchange| {
        let is_in = exchange.seen.head.value("Cookie") == Some("in=yes");
        let answer = match is_in {
            true => format!("HTTP/1.1 200 OK\r\n{told}Content-Length: 2\r\n\r\nok"),
            false => format!("HTTP/1.1 {refusal}Content-Length: 0\r\n\r\n"),
        };
        exchange.send(answer);
        crate::support::backend::Then::NextRequest
    })
}

fn fields_of(backend: &Backend, name: &str) -> Vec<String> {
    let seen = backend.seen();
    let last = seen.last().expect("it was asked");
    let wanted = name.replace('_', "-");
    let fields = last.head.fields.iter();
    fields
        .filter(|field| field.name.replace('_', "-").eq_ignore_ascii_case(&wanted))
        .map(|field| field.value.clone())
        .collect()
}

#[test]
fn authelia_is_asked_and_nobody_else_says_who_somebody_is() {
    let auth = gate(
        "401 Unauthorized\r\nLocation: https://auth.example.com/?rd=x\r\n",
        "Remote-User: ann\r\nRemote-Groups: admins,dev\r\nRemote-Email: ann@example.com\r\n",
    );
    let app = Backend::start();
    let server = asking(
        &auth,
        &app,
        "location = /internal/authelia/authz {
             internal;
             proxy_pass http://%AUTH%/api/authz/auth-request;
             proxy_set_header X-Original-Method $request_method;
             proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
             proxy_set_header X-Forwarded-For $remote_addr;
             proxy_set_header Content-Length \"\";
             proxy_set_header Connection \"\";
             proxy_pass_request_body off;
         }",
        "auth_request /internal/authelia/authz;
         auth_request_set $user $upstream_http_remote_user;
         auth_request_set $groups $upstream_http_remote_groups;
         auth_request_set $name $upstream_http_remote_name;
         auth_request_set $redirection_url $upstream_http_location;
         proxy_set_header Remote-User $user;
         proxy_set_header Remote-Groups $groups;
         error_page 401 =302 $redirection_url;",
    );
    let ask = |path: &str, fields: &str| {
        server.connect(1).ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"
        ))
    };
    let away = ask("/x?y", "");
    assert_eq!(away.status, 302);
    assert_eq!(
        away.value("Location"),
        Some("https://auth.example.com/?rd=x")
    );
    assert_eq!(fields_of(&auth, "X-Original-URL"), ["http://a.test/x?y"]);
    assert_eq!(fields_of(&auth, "X-Original-Method"), ["GET"]);
    assert!(app.seen().is_empty());

    let forged =
        "Remote-User: root\r\nRemote_User: root\r\nREMOTE-GROUPS: root\r\nremote_name: root\r\n";
    assert_eq!(ask("/", &format!("Cookie: in=yes\r\n{forged}")).status, 200);
    assert_eq!(fields_of(&app, "Remote-User"), ["ann"]);
    assert_eq!(fields_of(&app, "Remote-Groups"), ["admins,dev"]);
    assert_eq!(fields_of(&app, "Remote-Name"), [] as [&str; 0]);
    assert_eq!(fields_of(&auth, "Remote-User"), [] as [&str; 0]);
    // Nor where nobody is asked: the same application listens there.
    assert_eq!(ask("/open/", forged).status, 200);
    assert_eq!(fields_of(&app, "Remote-User"), [] as [&str; 0]);
    assert_eq!(fields_of(&app, "Remote-Groups"), [] as [&str; 0]);
}

#[test]
fn oauth2_proxy_is_asked_and_its_cookie_renewed() {
    let auth = gate(
        "401 Unauthorized\r\n",
        "X-Auth-Request-User: ann\r\nX-Auth-Request-Email: ann@example.com\r\nSet-Cookie: _oauth2_proxy=new; HttpOnly\r\n",
    );
    let app = Backend::start();
    let server = asking(
        &auth,
        &app,
        "location /oauth2/ { proxy_pass http://%AUTH%; proxy_set_header X-Auth-Request-Redirect $request_uri; }
         location = /oauth2/auth {
             proxy_pass http://%AUTH%;
             proxy_set_header X-Forwarded-Uri $request_uri;
             proxy_set_header Content-Length \"\";
             proxy_pass_request_body off;
         }",
        "auth_request /oauth2/auth;
         error_page 401 = @sign_in;
         auth_request_set $user $upstream_http_x_auth_request_user;
         auth_request_set $email $upstream_http_x_auth_request_email;
         proxy_set_header X-User $user;
         proxy_set_header X-Email $email;
         auth_request_set $auth_cookie $upstream_http_set_cookie;
         add_header Set-Cookie $auth_cookie;
         proxy_pass http://%APP%; }
         location @sign_in { return 302 /oauth2/sign_in?rd=$scheme://$host$request_uri;
         } location /never/ {",
    );
    let away = server
        .connect(1)
        .ask("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(away.status, 302);
    let to = away.value("Location").expect("a redirect");
    assert!(to.ends_with("/oauth2/sign_in?rd=http://a.test/x"), "{to}");
    let answer = server.connect(1).ask(
        "POST /x HTTP/1.1\r\nHost: a.test\r\nCookie: in=yes\r\nX-User: root\r\nX_Email: root\r\nX-Auth-Request-User: root\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.value("Set-Cookie"),
        Some("_oauth2_proxy=new; HttpOnly")
    );
    assert_eq!(fields_of(&app, "X-User"), ["ann"]);
    assert_eq!(fields_of(&app, "X-Email"), ["ann@example.com"]);
    assert_eq!(fields_of(&app, "X-Auth-Request-User"), [] as [&str; 0]);
    assert_eq!(app.seen().last().expect("asked").body, b"abc");
    assert!(auth.seen().iter().all(|seen| seen.body.is_empty()));
}

#[test]
fn authentik_is_asked_by_its_outpost() {
    let auth = gate(
        "401 Unauthorized\r\nSet-Cookie: state=1\r\n",
        "X-authentik-username: ann\r\nX-authentik-groups: admins\r\n",
    );
    let app = Backend::start();
    let server = asking(
        &auth,
        &app,
        "location /outpost.goauthentik.io {
             proxy_pass http://%AUTH%/outpost.goauthentik.io;
             proxy_set_header Host $host;
             proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
             add_header Set-Cookie $auth_cookie;
             auth_request_set $auth_cookie $upstream_http_set_cookie;
             proxy_pass_request_body off;
             proxy_set_header Content-Length \"\";
         }",
        "auth_request /outpost.goauthentik.io/auth/nginx;
         error_page 401 = @goauthentik_proxy_signin;
         auth_request_set $auth_cookie $upstream_http_set_cookie;
         add_header Set-Cookie $auth_cookie;
         auth_request_set $authentik_username $upstream_http_x_authentik_username;
         proxy_set_header X-authentik-username $authentik_username;
         proxy_pass http://%APP%; }
         location @goauthentik_proxy_signin {
             internal;
             add_header Set-Cookie $auth_cookie;
             return 302 /outpost.goauthentik.io/start?rd=$request_uri;
         } location /never/ {",
    );
    let away = server
        .connect(1)
        .ask("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(away.status, 302);
    assert_eq!(away.value("Set-Cookie"), Some("state=1"));
    let target = auth.seen().last().expect("asked").head.line.clone();
    assert_eq!(target, "GET /outpost.goauthentik.io/auth/nginx HTTP/1.1");
    let answer = server.connect(1).ask(
        "GET /x HTTP/1.1\r\nHost: a.test\r\nCookie: in=yes\r\nX-Authentik-Username: root\r\nx_authentik_username: root\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    assert_eq!(fields_of(&app, "X-authentik-username"), ["ann"]);
}

#[test]
fn whom_nobody_can_be_asked_about_is_not_let_in() {
    let server = Setup::http(
        "server { listen %LISTEN1%;
             location / { auth_request /ask; return 200; }
             location /files/ { auth_request /ask; alias %PREFIX%/; }
             location = /ask { proxy_pass http://%DEAD1%; }
         }",
    )
    .file("a", "secret")
    .start();
    let answer = server
        .connect(1)
        .ask("GET /files/a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 500);
    let line = "auth request unexpected status: 502";
    eventually(line, || server.said().contains(line).then_some(()));
}

#[test]
fn a_mirror_gets_what_the_backend_gets_and_may_be_slow_or_gone() {
    let app = Backend::start();
    let copies = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%; client_body_buffer_size 4k;
             mirror /copy; mirror /gone;
             location / { proxy_pass http://%APP%; }
             location = /copy { internal; proxy_pass http://%COPIES%$request_uri; proxy_set_header X-Answer delay=300; }
             location = /gone { internal; proxy_pass http://%DEAD1%; }
         }",
    )
    .set("APP", app.address())
    .set("COPIES", copies.address())
    .start();
    for body in ["abc".to_owned(), "x".repeat(50_000)] {
        let answer = server.connect(1).ask(&format!(
            "POST /x?y=1 HTTP/1.1\r\nHost: a\r\nX-A: b\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(answer.status, 200);
        assert_eq!(app.seen().last().expect("asked").body, body.as_bytes());
        eventually("the copy came", || {
            let seen = copies.seen();
            let is_there = |copy: &crate::support::backend::Seen| {
                copy.head.line == "POST /x?y=1 HTTP/1.1"
                    && copy.head.value("X-A") == Some("b")
                    && copy.body == body.as_bytes()
            };
            seen.iter().any(is_there).then_some(())
        });
    }
}

#[test]
fn clients_of_http2_are_asked_for_the_same() {
    let auth = gate(
        "401 Unauthorized\r\nWWW-Authenticate: Cookie\r\n",
        "Remote-User: ann\r\n",
    );
    let app = Backend::start();
    let server = Setup::http(
        "server { listen %LISTEN1%; http2 on; underscores_in_headers on;
             set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;
             auth_basic_user_file %PREFIX%/users;
             location /password/ { auth_basic a; proxy_pass http://%APP%; }
             location /any/ { satisfy any; allow 192.0.2.1; deny all; auth_basic a; proxy_pass http://%APP%; }
             location /all/ { satisfy all; allow 192.0.2.1; deny all; auth_basic a; proxy_pass http://%APP%; }
             location /asked/ {
                 auth_request /ask; auth_request_set $user $upstream_http_remote_user;
                 proxy_set_header Remote-User $user; proxy_pass http://%APP%;
             }
             location = /ask {
                 internal; proxy_pass http://%AUTH%; proxy_pass_request_body off;
                 proxy_set_header Content-Length \"\"; proxy_set_header X-Original-URI $request_uri;
             }
         }",
    )
    .set("APP", app.address())
    .set("AUTH", auth.address())
    .file("users", "ann:{PLAIN}one\n")
    .start();
    let mut client = Http2Client::connect(server.port(1));
    let pair = |text: &str| format!("Basic {}", data_encoding::BASE64.encode(text.as_bytes()));
    let (right, wrong) = (pair("ann:one"), pair("ann:two"));
    let mut ask = |path: &str, who: Option<&str>, client_address: &str| {
        let mut fields = vec![("x-real-ip", client_address)];
        fields.extend(who.map(|who| ("authorization", who)));
        client.get(path, &fields)
    };
    let (inside, outside) = ("192.0.2.1", "192.0.2.2");
    let refused = ask("/password/", None, inside);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.value("WWW-Authenticate"), Some("Basic realm=\"a\""));
    for (path, who, address, status) in [
        ("/password/", Some(&*right), outside, 200),
        ("/password/", Some(&*wrong), outside, 401),
        ("/any/", None, inside, 200),
        ("/any/", Some(&*right), outside, 200),
        ("/any/", None, outside, 401),
        ("/all/", Some(&*right), inside, 200),
        ("/all/", Some(&*right), outside, 403),
        ("/all/", None, inside, 401),
    ] {
        assert_eq!(ask(path, who, address).status, status, "{path} {address}");
    }

    let refused = client.get("/asked/x?y", &[]);
    assert_eq!(
        (refused.status, refused.value("WWW-Authenticate")),
        (401, Some("Cookie"))
    );
    assert_eq!(fields_of(&auth, "X-Original-URI"), ["/asked/x?y"]);
    // A body goes to the application alone, and nobody says who they are: neither before it nor behind.
    let fields = [
        ("cookie", "in=yes"),
        ("remote_user", "root"),
        ("remote-user", "root"),
    ];
    let answer = client.try_ask("POST", "/asked/x", &fields, b"abc");
    assert_eq!(answer.map(|answer| answer.status), Some(200));
    assert_eq!(fields_of(&app, "Remote-User"), ["ann"]);
    assert_eq!(app.seen().last().expect("asked").body, b"abc");
    assert!(auth.seen().iter().all(|seen| seen.body.is_empty()));
}

#[test]
fn nobody_says_behind_a_body_who_they_are() {
    let auth = gate("401 Unauthorized\r\n", "Remote-User: ann\r\n");
    let app = Backend::start();
    let server = asking(
        &auth,
        &app,
        "location = /ask { internal; proxy_pass http://%AUTH%; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; }",
        "auth_request /ask; auth_request_set $user $upstream_http_remote_user;
         proxy_request_buffering off; proxy_set_header Remote-User $user;",
    );
    // The body comes once it is asked for: by then its framing towards the peer is decided.
    let mut client = server.connect(1);
    client.send(
        "POST /x HTTP/1.1\r\nHost: a\r\nCookie: in=yes\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    );
    let interim = client.next_answer("POST").expect("an interim answer");
    assert_eq!(interim.status, 100);
    client.send("3\r\nabc\r\n0\r\nRemote_User: root\r\nX-Sum: 1\r\n\r\n");
    assert_eq!(client.answer("POST").status, 200);
    let seen = app.seen();
    let trailers: Vec<&str> = (seen.last().expect("asked").trailers.iter())
        .map(|field| &*field.name)
        .collect();
    assert_eq!(trailers, ["X-Sum"]);
}
