//! Tokens, and logins at a provider of OpenID Connect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::backend::{Backend, Exchange, Then};
use crate::support::client::Answer;
use crate::support::http2_client::{Http2Answer, Http2Client};
use crate::support::server::{Server, Setup, eventually};

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

fn token(key: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", encode(header), encode(claims));
    let signed = key.sign(message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(signed.as_ref()))
}

fn key_set(key: &Ed25519KeyPair, id: &str) -> Value {
    let x = BASE64URL_NOPAD.encode(key.public_key().as_ref());
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x, "use": "sig" }] })
}

#[test]
fn a_token_lets_in_and_says_who_it_is() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let other = Ed25519KeyPair::generate().expect("a key");
    let app = Backend::start();
    let server = Setup::http(
        "auth_jwt_claim_set $city address city;
         map $jwt_claim_role $is_admin { admin 1; default 0; }
         server { listen %LISTEN1%; underscores_in_headers on;
            auth_jwt api; auth_jwt_key_file %PREFIX%/keys.json; auth_jwt_leeway 30s;
            location / { proxy_pass http://%APP%; proxy_set_header X-User $jwt_claim_sub; proxy_set_header X-City $city; }
            location /admin/ { auth_jwt_require $is_admin error=403; proxy_pass http://%APP%; }
            location /cookie/ { auth_jwt api token=$cookie_token; proxy_pass http://%APP%; }
            location /open/ { auth_jwt off; proxy_pass http://%APP%; }
         }",
    )
    .set("APP", app.address())
    .file("keys.json", key_set(&key, "k1").to_string())
    .start();
    let ask = |path: &str, fields: &str| {
        server
            .connect(1)
            .ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    };
    let header = json!({ "alg": "EdDSA", "kid": "k1" });
    let claims =
        json!({ "sub": "ann", "role": "user", "exp": now() + 60, "address": { "city": "Bern" } });
    let good = format!(
        "Authorization: Bearer {}\r\n",
        token(&key, &header, &claims)
    );
    let none = ask("/", "");
    assert_eq!(none.status, 401);
    assert_eq!(none.value("WWW-Authenticate"), Some("Bearer realm=\"api\""));
    assert_eq!(
        ask("/", &format!("{good}X_User: root\r\nX-City: x\r\n")).status,
        200
    );
    let seen = app.seen();
    let head = &seen.last().expect("asked").head;
    assert_eq!(head.value("X-User"), Some("ann"));
    assert_eq!(head.value("X-City"), Some("Bern"));
    assert_eq!(head.value("X_User"), None);

    assert_eq!(ask("/admin/", &good).status, 403);
    let admin = json!({ "sub": "bob", "role": "admin" });
    let admin = format!("Authorization: bearer {}\r\n", token(&key, &header, &admin));
    assert_eq!(ask("/admin/", &admin).status, 200);
    let by_cookie = good.replace("Authorization: Bearer ", "Cookie: token=");
    assert_eq!(ask("/cookie/", &by_cookie).status, 200);
    assert_eq!(ask("/cookie/", &good).status, 401);
    assert_eq!(ask("/open/", "X-User: root\r\n").status, 200);
    assert_eq!(app.seen().last().expect("asked").head.value("X-User"), None);

    let expired = json!({ "sub": "ann", "exp": now() - 31 });
    for wrong in [
        token(&other, &header, &claims),
        token(&key, &header, &expired),
        token(&key, &json!({ "alg": "none" }), &claims),
        token(&key, &json!({ "alg": "EdDSA", "kid": "k2" }), &claims),
        "a.b.c".to_owned(),
        "x".repeat(3000),
    ] {
        let answer = ask("/", &format!("Authorization: Bearer {wrong}\r\n"));
        assert_eq!(answer.status, 401);
        let told = Some("Bearer realm=\"api\", error=\"invalid_token\"");
        assert_eq!(answer.value("WWW-Authenticate"), told);
    }
    // Keys change while it runs.
    let path = server.site().prefix.join("keys.json");
    std::fs::write(path, key_set(&other, "k1").to_string()).expect("written");
    eventually("the old key is forgotten", || {
        (ask("/", &good).status == 401).then_some(())
    });
    let by_other = format!(
        "Authorization: Bearer {}\r\n",
        token(&other, &header, &claims)
    );
    assert_eq!(ask("/", &by_other).status, 200);
}

/// What the provider knows.
#[derive(Default)]
struct Book {
    /// By code: the claims of the token, and the digest of the proof.
    codes: BTreeMap<String, (Value, String)>,
    header: Option<Value>,
}

/// A provider whose client is `proxy` with the secret `hush`.
fn provider(key: Ed25519KeyPair, book: &Arc<Mutex<Book>>) -> Backend {
    let book = Arc::clone(book);
    Backend::scripted(move |exchange: &mut Exchange<'_>| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        let head = exchange.seen.head.clone();
        let own = format!("http://{}", head.value("Host").unwrap_or_default());
        let path = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = match &*path {
            "/.well-known/openid-configuration" => Some(json!({
                "issuer": own, "authorization_endpoint": format!("{own}/in"),
                "token_endpoint": format!("{own}/token"), "jwks_uri": format!("{own}/keys"),
                "userinfo_endpoint": format!("{own}/who"),
                "end_session_endpoint": format!("{own}/out"),
            })),
            "/keys" => Some(key_set(&key, "k1")),
            "/who" => (head.value("Authorization") == Some("Bearer at"))
                .then(|| json!({ "sub": "ann", "groups": ["staff", "admins"] })),
            "/token" => {
                let body = String::from_utf8_lossy(&exchange.seen.body).into_owned();
                let pairs = pairs(&body);
                let mut book = book.lock().expect("no writer panics");
                let known = book.codes.remove(pairs.get("code").map_or("", |code| code));
                let basic = format!("Basic {}", BASE64.encode(b"proxy:hush"));
                let proof = pairs.get("code_verifier").map_or("", |proof| proof);
                let proof = BASE64URL_NOPAD.encode(digest(&SHA256, proof.as_bytes()).as_ref());
                let header = book
                    .header
                    .clone()
                    .unwrap_or(json!({ "alg": "EdDSA", "kid": "k1" }));
                known
                    .filter(|(_, challenge)| {
                        *challenge == proof && head.value("Authorization") == Some(&*basic)
                    })
                    .map(|(claims, _)| {
                        json!({ "id_token": token(&key, &header, &claims), "access_token": "at", "token_type": "Bearer" })
                    })
            }
            _ => None,
        };
        let (status, body) = match answer {
            Some(answer) => ("200 OK", answer.to_string()),
            None => ("400 Bad Request", r#"{"error":"invalid_grant"}"#.to_owned()),
        };
        exchange.send(format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        Then::NextRequest
    })
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let unescape = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            bytes.extend(before.bytes());
            bytes.push(u8::from_str_radix(&after[..2], 16).expect("digits"));
            rest = &after[2..];
        }
        bytes.extend(rest.bytes());
        String::from_utf8(bytes).expect("text")
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect()
}

struct Browser<'a> {
    server: &'a Server,
    cookies: BTreeMap<String, String>,
}

impl Browser<'_> {
    fn get(&mut self, target: &str, fields: &str) -> Answer {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let answer = self.server.connect(1).ask(&format!(
            "GET {target} HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\n{fields}\r\n",
            cookies.join("; ")
        ));
        for field in answer
            .fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("set-cookie"))
        {
            let (pair, attributes) = field.value.split_once("; ").expect("attributes");
            assert!(
                attributes.contains("HttpOnly; SameSite=Lax"),
                "{attributes}"
            );
            let (name, value) = pair.split_once('=').expect("a pair");
            match attributes.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }

    /// Goes to a page and to the provider; what the provider was told.
    fn begin(&mut self, target: &str) -> BTreeMap<String, String> {
        let answer = self.get(target, "");
        assert_eq!(answer.status, 302);
        let place = answer.value("Location").expect("a redirect").to_owned();
        let (page, asked) = place.split_once('?').expect("arguments");
        assert!(page.ends_with("/in"), "{place}");
        pairs(asked)
    }
}

fn claims(issuer: &str, asked: &BTreeMap<String, String>, more: Value) -> Value {
    let mut claims = json!({
        "iss": issuer, "aud": "proxy", "sub": "ann", "nonce": asked["nonce"], "exp": now() + 60,
        "email": "ann@example.com", "email_verified": true,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        match value.is_null() {
            true => claims
                .as_object_mut()
                .and_then(|claims| claims.remove(name)),
            false => claims
                .as_object_mut()
                .and_then(|claims| claims.insert(name.clone(), value.clone())),
        };
    }
    claims
}

struct Stage {
    issuer: String,
    book: Arc<Mutex<Book>>,
    server: Server,
    app: Backend,
    _provider: Backend,
}

fn stage(lines: &str) -> Stage {
    let book = Arc::new(Mutex::new(Book::default()));
    let provider = provider(Ed25519KeyPair::generate().expect("a key"), &book);
    let app = Backend::start();
    let issuer = format!("http://{}", provider.address());
    let server = Setup::http(&format!(
        "oidc_provider id {{
             issuer {issuer}; client_id proxy; client_secret file:%PREFIX%/secret.key;
             scope openid email; logout_uri /logout; post_logout_uri /bye; {lines}
         }}
         underscores_in_headers on;
         server {{ listen %LISTEN1%; http2 on;
             location / {{ return 200 open; }}
             location /metrics {{ metrics; }}
             location /private/ {{ auth_oidc id; proxy_pass http://%APP%; proxy_set_header X-User $oidc_claim_email; }}
             location /staff/ {{ auth_oidc id; auth_oidc_allow email *@example.org; auth_oidc_allow groups admins; proxy_pass http://%APP%; }}
             location /passed/ {{ proxy_pass http://%APP%; }}
         }}"
    ))
    .set("APP", app.address())
    .file("secret.key", "hush\n")
    .start();
    Stage {
        issuer,
        book,
        server,
        app,
        _provider: provider,
    }
}

impl Stage {
    fn browser(&self) -> Browser<'_> {
        Browser {
            server: &self.server,
            cookies: BTreeMap::new(),
        }
    }

    /// The provider gives a code for what was asked.
    fn grant(&self, code: &str, asked: &BTreeMap<String, String>, more: Value) {
        let claims = claims(&self.issuer, asked, more);
        let challenge = asked["code_challenge"].clone();
        let mut book = self.book.lock().expect("no writer panics");
        book.codes.insert(code.to_owned(), (claims, challenge));
    }
}

#[test]
fn somebody_logs_in_at_the_provider_and_out_again() {
    let stage = stage("");
    let mut browser = stage.browser();
    let asked = browser.begin("/private/a?b=c");
    assert_eq!(asked["redirect_uri"], "http://app.test/oidc_callback");
    assert_eq!(asked["scope"], "openid email");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert!(stage.app.seen().is_empty());
    stage.grant("c1", &asked, json!({}));
    let callback = format!("/oidc_callback?code=c1&state={}", asked["state"]);
    let back = browser.get(&callback, "");
    assert_eq!(back.status, 302, "{}", stage.server.said());
    assert!(
        back.value("Location")
            .is_some_and(|to| to.ends_with("/private/a?b=c"))
    );
    assert_eq!(back.value("Cache-Control"), Some("no-store"));
    assert_eq!(browser.cookies.len(), 1);

    assert_eq!(
        browser
            .get("/private/a", "X-User: root\r\nx_user: root\r\n")
            .status,
        200
    );
    let user = |stage: &Stage| {
        let seen = stage.app.seen();
        let head = &seen.last().expect("asked").head;
        (
            head.value("X-User").map(str::to_owned),
            head.value("X_User").map(str::to_owned),
        )
    };
    assert_eq!(user(&stage), (Some("ann@example.com".to_owned()), None));
    assert_eq!(browser.get("/passed/", "X-User: root\r\n").status, 200);
    assert_eq!(user(&stage), (None, None));
    // Neither address nor group.
    assert_eq!(browser.get("/staff/", "").status, 403);
    // The session outlives a reload.
    stage.server.signal(Signal::SIGHUP);
    eventually("another generation is in force", || {
        let metrics = browser.get("/metrics", "").text();
        metrics
            .contains("openclaw_config_generation 2\n")
            .then_some(())
    });
    assert_eq!(browser.get("/private/a", "").status, 200);

    // A code is good once, and only where the login began.
    assert_eq!(browser.get(&callback, "").status, 400);
    let out = browser.get("/logout", "");
    assert_eq!(out.status, 302);
    let place = out.value("Location").expect("a redirect");
    let after = "/out?client_id=proxy&post_logout_redirect_uri=http%3A%2F%2Fapp.test%2Fbye";
    assert!(place.ends_with(after), "{place}");
    assert!(browser.cookies.is_empty());
    assert_eq!(browser.get("/private/a", "").status, 302);
    assert!(!stage.server.said().contains("hush"));
}

#[test]
fn a_session_outlives_the_program() {
    let mut stage = stage("");
    let mut browser = stage.browser();
    // Until the key is kept, a session would end with the program.
    eventually("the store is open", || {
        let metrics = browser.get("/metrics", "").text();
        (!metrics.contains("openclaw_config_revision 0\n")).then_some(())
    });
    let asked = browser.begin("/private/");
    stage.grant("c1", &asked, json!({}));
    let callback = format!("/oidc_callback?code=c1&state={}", asked["state"]);
    assert_eq!(browser.get(&callback, "").status, 302);
    let cookies = browser.cookies.clone();
    stage.server.quit();
    stage.server.start_again();
    eventually("the key is taken out of the store", || {
        let mut browser = stage.browser();
        browser.cookies.clone_from(&cookies);
        (browser.get("/private/", "").status == 200).then_some(())
    });
}

#[test]
fn groups_are_asked_for_and_let_in() {
    let stage = stage("userinfo on;");
    let mut browser = stage.browser();
    let asked = browser.begin("/staff/");
    stage.grant("c1", &asked, json!({}));
    let callback = format!("/oidc_callback?code=c1&state={}", asked["state"]);
    assert_eq!(
        browser.get(&callback, "").status,
        302,
        "{}",
        stage.server.said()
    );
    assert_eq!(browser.get("/staff/", "").status, 200);
}

#[test]
fn who_is_not_who_logged_in_is_not_let_in() {
    let stage = stage("");
    let mut number = 0;
    let mut tried = |more: Value| {
        number += 1;
        let mut browser = stage.browser();
        let asked = browser.begin("/private/");
        stage.grant(&format!("c{number}"), &asked, more);
        let state = &asked["state"];
        let status = browser
            .get(&format!("/oidc_callback?code=c{number}&state={state}"), "")
            .status;
        assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
        status
    };
    for wrong in [
        json!({ "nonce": "another" }),
        json!({ "aud": "another" }),
        json!({ "aud": ["proxy", "another"] }),
        json!({ "aud": ["proxy", "another"], "azp": "another" }),
        json!({ "iss": "http://another.test" }),
        json!({ "exp": now() - 3600 }),
        json!({ "exp": null }),
        json!({ "sub": null }),
    ] {
        assert_eq!(tried(wrong.clone()), 502, "{wrong}");
    }
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256", "kid": "k1" }),
        json!({ "alg": "EdDSA", "kid": "other" }),
    ] {
        stage.book.lock().expect("no writer panics").header = Some(header.clone());
        assert_eq!(tried(json!({})), 502, "{header}");
    }
    stage.book.lock().expect("no writer panics").header = None;

    // Somebody else's browser, another state, no code, a refusal, another code.
    let mut browser = stage.browser();
    let asked = browser.begin("/private/");
    stage.grant("c", &asked, json!({}));
    let state = &asked["state"];
    assert_eq!(
        stage
            .browser()
            .get(&format!("/oidc_callback?code=c&state={state}"), "")
            .status,
        400
    );
    for (query, status) in [
        ("code=c".to_owned(), 400),
        ("code=c&state=x".to_owned(), 400),
        (format!("code=c&state={}x", &state[..state.len() - 1]), 400),
    ] {
        assert_eq!(
            browser.get(&format!("/oidc_callback?{query}"), "").status,
            status,
            "{query}"
        );
    }
    for (query, status) in [("error=access_denied", 403), ("", 400), ("code=other", 502)] {
        let mut browser = stage.browser();
        let state = browser.begin("/private/").remove("state").expect("a state");
        let answer = browser.get(&format!("/oidc_callback?{query}&state={state}"), "");
        assert_eq!(answer.status, status, "{query}");
    }
    // Programs are told, not sent away; what is sent is not read.
    let mut browser = stage.browser();
    assert_eq!(
        browser.get("/private/", "Sec-Fetch-Mode: cors\r\n").status,
        401
    );
    let post = stage
        .server
        .connect(1)
        .ask("POST /private/ HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\n\r\na");
    assert_eq!(post.status, 401);
    assert!(stage.app.seen().is_empty());
}

#[test]
fn a_provider_that_is_gone_costs_its_own_places_only() {
    let server = Setup::http(
        "oidc_provider id { issuer http://%DEAD1%; client_id proxy; }
         server { listen %LISTEN1%; location / { return 200; } location /private/ { auth_oidc id; alias %PREFIX%/; } }",
    )
    .start();
    let ask = |path: &str| {
        server
            .connect(1)
            .ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    };
    let refused = ask("/private/");
    assert_eq!(
        (refused.status, refused.value("Retry-After")),
        (502, Some("10"))
    );
    assert_eq!(ask("/").status, 200);
    let line = "nobody can log in at \"id\": ";
    eventually(line, || server.said().contains(line).then_some(()));
}

#[test]
fn a_login_over_http2_is_as_any_other() {
    let stage = stage("logout_token_hint on;");
    let mut client = Http2Client::connect(stage.server.port(1));
    let cookie = |answer: &Http2Answer| {
        let value = answer.value("Set-Cookie").expect("a cookie").to_owned();
        value.split(';').next().expect("a pair").to_owned()
    };
    let away = client.get("/private/a?b=c", &[]);
    assert_eq!(away.status, 302);
    let place = away.value("Location").expect("a redirect").to_owned();
    let asked = pairs(place.split_once('?').expect("arguments").1);
    assert_eq!(asked["redirect_uri"], "http://app.test/oidc_callback");
    let begun = cookie(&away);
    stage.grant("c1", &asked, json!({}));
    let state = &asked["state"];
    // What another issuer passes on is not taken, and the login stays as it was.
    let path = format!("/oidc_callback?code=c1&state={state}&iss=http://other.test");
    assert_eq!(client.get(&path, &[("cookie", &begun)]).status, 400);
    let issuer = &stage.issuer;
    let path = format!("/oidc_callback?code=c1&state={state}&iss={issuer}");
    let back = client.get(&path, &[("cookie", &begun)]);
    assert_eq!(back.status, 302, "{}", stage.server.said());
    assert!(
        back.value("Location")
            .is_some_and(|to| to.ends_with("/private/a?b=c"))
    );
    let session = back
        .fields
        .iter()
        .filter(|field| field.name == "set-cookie" && !field.value.contains("Max-Age=0"))
        .filter_map(|field| field.value.split(';').next())
        .collect::<Vec<_>>()
        .join("; ");
    // Browsers may send each cookie in a field of its own (RFC 9113 section 8.2.3).
    let fields = [("cookie", "a=b"), ("cookie", &*session), ("cookie", "c=d")];
    let answer = client.get("/private/a", &fields);
    assert_eq!(
        (answer.status, answer.text()),
        (200, "answer of backend\n".to_owned())
    );
    let seen = stage.app.seen();
    let head = &seen.last().expect("asked").head;
    assert_eq!(head.value("X-User"), Some("ann@example.com"));
    let post = client.try_ask("POST", "/private/a", &[], b"abc");
    assert_eq!(post.map(|answer| answer.status), Some(401));

    let out = client.get("/logout", &[("cookie", &session)]);
    let place = out.value("Location").expect("a redirect");
    let (page, told) = place.split_once('?').expect("arguments");
    assert!(page.ends_with("/out"), "{place}");
    let told = pairs(told);
    assert_eq!(told["post_logout_redirect_uri"], "http://app.test/bye");
    assert_eq!(told["id_token_hint"].split('.').count(), 3);
    assert!(
        out.value("Set-Cookie")
            .is_some_and(|cookie| cookie.contains("Max-Age=0"))
    );
}

#[test]
fn keys_of_tokens_are_asked_for_where_a_location_has_them() {
    let keys = Arc::new(Mutex::new((200, String::new())));
    let told = Arc::clone(&keys);
    let authority = Backend::scripted(move |exchange: &mut Exchange<'_>| {
        let (status, text) = told.lock().expect("no writer panics").clone();
        exchange.send(format!(
            "HTTP/1.1 {status} Told\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        ));
        Then::NextRequest
    });
    let server = Setup::http(
        "server { listen %LISTEN1%; http2 on; gzip on; gzip_types *; gzip_min_length 1;
            location / {
                auth_jwt api; auth_jwt_key_file %PREFIX%/keys.json; auth_jwt_key_request /keys;
                alias %PREFIX%/www/;
            }
            location = /keys { internal; proxy_pass http://%KEYS%/jwks; }
         }",
    )
    .set("KEYS", authority.address())
    .file("www/a", "content")
    .file("keys.json", "{\"keys\":[]}")
    .start();
    let (one, two) = (
        Ed25519KeyPair::generate().expect("a key"),
        Ed25519KeyPair::generate().expect("a key"),
    );
    let header = json!({ "alg": "EdDSA", "kid": "k1" });
    let claims = json!({ "sub": "ann", "exp": now() + 60 });
    let bearer = |key: &Ed25519KeyPair| format!("Bearer {}", token(key, &header, &claims));
    let mut client = Http2Client::connect(server.port(1));
    let mut ask = |key: &Ed25519KeyPair| {
        let bearer = bearer(key);
        let fields = [
            ("authorization", &*bearer),
            ("accept-encoding", "gzip"),
            ("if-none-match", "*"),
            ("range", "bytes=0-1"),
        ];
        client.get("/a", &fields).status
    };
    let set = |status: u16, text: String| {
        *keys.lock().expect("no reader panics") = (status, text);
    };
    set(200, key_set(&one, "k1").to_string());
    assert_eq!((ask(&one), ask(&one), ask(&two)), (304, 304, 401));
    let seen = authority.seen();
    let head = &seen.last().expect("asked").head;
    assert_eq!(head.line, "GET /jwks HTTP/1.1");
    for name in ["Accept-Encoding", "Range", "If-None-Match"] {
        assert_eq!(head.value(name), None, "{name}");
    }
    // Other keys are in force at once.
    set(200, key_set(&two, "k1").to_string());
    assert_eq!((ask(&one), ask(&two)), (401, 304));
    for (status, text) in [
        (200, "no keys".to_owned()),
        (200, " ".repeat(2 << 20)),
        (503, key_set(&two, "k1").to_string()),
        (401, String::new()),
    ] {
        set(status, text);
        assert_eq!(ask(&two), 500, "{status}");
    }
    let line = "keys of tokens from \"/keys\": unexpected status: 503";
    eventually(line, || server.said().contains(line).then_some(()));
}
