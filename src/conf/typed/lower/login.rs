//! Tokens and logins: `auth_jwt`, `auth_require`, `auth_oidc`, `oidc_provider`.

use std::sync::Arc;

use super::scope::Scope;
use super::{Cx, rewrite, secret};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::access::{Allow, Login, LoginRequired, Require, Token, TokenSet};
use crate::conf::variable::Variable;
use crate::unit;

/// `auth_jwt`
pub fn token(scope: &Scope<'_>, cx: &mut Cx) -> Option<Token> {
    let line = scope.nearest("auth_jwt")?;
    let realm = line.arguments.first()?;
    if &*realm.text == "off" {
        return None;
    }
    let source = line.arguments.get(1).and_then(|word| {
        let name = word.text.strip_prefix("token=$")?;
        cx.variable(word, name)
    });
    let files = scope.all("auth_jwt_key_file");
    let words: Vec<&Word> = files
        .iter()
        .filter_map(|line| line.arguments.first())
        .collect();
    let requests: Vec<&Word> = (scope.all("auth_jwt_key_request").iter())
        .filter_map(|line| line.arguments.first())
        .collect();
    for word in &requests {
        super::access::must_be_path(word, "that answers with keys", cx);
    }
    if words.is_empty() && requests.is_empty() {
        let problem = Diagnostic::error(
            Code::NO_TOKEN_KEYS,
            line.name.span,
            "tokens are asked for and no keys are known",
        );
        cx.report(problem.hint("name a JSON web key set: `auth_jwt_key_file keys.json;`"));
    }
    let key_files = words.into_iter().map(|word| {
        let text = match word.text.starts_with(['/', '$']) {
            true => word.text.to_string(),
            false => scope
                .path_beside_conf(&word.text)
                .to_string_lossy()
                .into_owned(),
        };
        cx.template_of(word, &text)
    });
    let key_files = key_files.collect();
    let mut sets = Vec::new();
    for name in ["auth_jwt_claim_set", "auth_jwt_header_set"] {
        for line in scope.all(name) {
            let Some((variable, path)) = line.arguments.split_first() else {
                continue;
            };
            if let Some(Variable::Slot(slot)) = rewrite::defined(variable, cx) {
                sets.push(TokenSet {
                    slot,
                    is_of_header: name == "auth_jwt_header_set",
                    path: path.iter().map(|word| word.text.clone()).collect(),
                });
            }
        }
    }
    let leeway = unit::time::seconds(scope.text("auth_jwt_leeway")).unwrap_or_default();
    Some(Token {
        realm: cx.template(realm),
        source,
        key_files,
        key_requests: (requests.iter())
            .map(|word| word.text.as_bytes().into())
            .collect(),
        leeway,
        require: require("auth_jwt_require", 401, scope, cx),
        sets: sets.into(),
    })
}

/// `auth_require` or `auth_jwt_require`, with the status where none is written.
pub fn require(name: &str, usual: u16, scope: &Scope<'_>, cx: &mut Cx) -> Box<[Require]> {
    let mut all = Vec::new();
    for line in scope.all(name) {
        let mut status = usual;
        let mut values = Vec::new();
        for word in &line.arguments {
            match word.text.strip_prefix("error=") {
                None => values.push(cx.template(word)),
                Some(code) => match code.parse() {
                    Ok(code @ 400..=599) => status = code,
                    _ => {
                        let problem = Diagnostic::error(
                            Code::BAD_REQUIRE,
                            word.span,
                            format!("`{code}` is not the status of a refusal"),
                        );
                        cx.report(problem.hint("write `error=401` or `error=403`"));
                    }
                },
            }
        }
        all.push(Require {
            values: values.into(),
            status,
        });
    }
    all.into()
}

/// `auth_oidc`
pub fn required(scope: &Scope<'_>, logins: &[Arc<Login>], cx: &mut Cx) -> Option<LoginRequired> {
    let word = scope.nearest("auth_oidc")?.arguments.first()?;
    if &*word.text == "off" {
        return None;
    }
    let Some(login) = logins.iter().find(|login| login.name == word.text) else {
        let problem = Diagnostic::error(
            Code::UNKNOWN_LOGIN_PROVIDER,
            word.span,
            format!("there is no `oidc_provider {}`", word.text),
        );
        cx.report(problem.hint("define it in the `http` block, or write `auth_oidc off;`"));
        return None;
    };
    let allow = scope.all("auth_oidc_allow").iter().filter_map(|line| {
        let (claim, values) = line.arguments.split_first()?;
        Some(Allow {
            claim: claim.text.clone(),
            values: values.iter().map(|word| word.text.clone()).collect(),
        })
    });
    Some(LoginRequired {
        login: Arc::clone(login),
        allow: allow.collect(),
    })
}

/// An `oidc_provider`.
pub fn provider(node: &Node, http: &Scope<'_>, cx: &mut Cx) -> Option<Login> {
    let name = node.arguments.first()?;
    let scope = http.inside(node.block.as_deref()?);
    let word = |name: &str| {
        scope
            .own(name)
            .first()
            .and_then(|line| line.arguments.first())
    };
    let mut wrong = |word: &Word, what: &str, hint: &str| {
        let problem = Diagnostic::error(
            Code::BAD_LOGIN_PROVIDER,
            word.span,
            format!("`{}` {what}", word.text),
        );
        cx.report(problem.hint(hint));
    };
    let is_address = |text: &str| {
        let uri: Option<http::Uri> = text.parse().ok();
        uri.is_some_and(|uri| {
            uri.host().is_some_and(|host| !host.is_empty())
                && matches!(uri.scheme_str(), Some("https" | "http"))
        })
    };
    let is_path = |text: &str| {
        text.starts_with('/')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"?#;,".contains(&byte))
    };
    if &*name.text == "off" || name.text.is_empty() {
        wrong(
            name,
            "cannot be the name of a provider",
            "use letters, digits, `-` and `_`",
        );
        return None;
    }
    for required in ["issuer", "client_id"] {
        if word(required).is_none() {
            wrong(
                name,
                &format!("has no `{required}`"),
                "the provider tells it when a client is set up",
            );
        }
    }
    let mut login = Login {
        span: name.span,
        ..Login::named(&name.text, "")
    };
    for (line, is_optional) in [("issuer", false), ("config_url", true)] {
        let Some(word) = word(line) else { continue };
        if !is_address(&word.text) {
            wrong(
                word,
                "is no address",
                "write it as `https://id.example.com`",
            );
        }
        match is_optional {
            true => login.config_url = Some(word.text.clone()),
            false => login.issuer = word.text.clone(),
        }
    }
    if let Some(word) = word("client_id") {
        login.client_id = word.text.clone();
    }
    if let Some(word) = word("redirect_uri") {
        let path = match is_address(&word.text) {
            true => {
                login.redirect = Some(word.text.clone());
                word.text
                    .splitn(4, '/')
                    .nth(3)
                    .map(|rest| format!("/{rest}"))
            }
            false => Some(word.text.to_string()),
        };
        match path.filter(|path| is_path(path)) {
            Some(path) => login.redirect_path = path.into(),
            None => wrong(
                word,
                "has no path",
                "write `/oidc_callback` or `https://example.com/oidc_callback`",
            ),
        }
    }
    if let Some(word) = word("logout_uri") {
        if !is_path(&word.text) {
            wrong(word, "is no path", "write it as `/logout`");
        }
        login.logout_path = Some(word.text.clone());
    }
    if let Some(word) = word("post_logout_uri") {
        if !is_path(&word.text) && !is_address(&word.text) {
            wrong(
                word,
                "is neither a path nor an address",
                "write it as `/` or `https://example.com/bye`",
            );
        }
        login.after_logout = Some(word.text.clone());
    }
    if let Some(word) = word("cookie_name") {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if word.text.is_empty() || word.text.len() > 64 || !word.text.bytes().all(is_token) {
            wrong(
                word,
                "cannot be the name of a cookie",
                "use letters, digits, `-`, `_` and `.`",
            );
        }
        login.cookie = word.text.clone();
    }
    if let Some(word) = word("extra_auth_args") {
        let is_fine = word
            .text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !is_fine {
            wrong(
                word,
                "cannot stand in an address",
                "write it as `prompt=login&max_age=600`",
            );
        }
        login.extra_arguments = word.text.trim_start_matches(['?', '&']).into();
    }
    if let Some(line) = scope.own("scope").first() {
        let words = line
            .arguments
            .iter()
            .flat_map(|word| word.text.split_whitespace());
        let mut all: Vec<&str> = words.collect();
        // Without it there is no login.
        if !all.contains(&"openid") {
            all.insert(0, "openid");
        }
        login.scope = all.join(" ").into();
    }
    if let Some(word) = word("session_timeout")
        && let Some(time) = unit::time::seconds(&word.text)
    {
        // One that ends at once leads to the provider and back for ever; browsers keep none for longer
        // than 400 days (RFC 6265bis section 5.5).
        if !(60..=400 * 86_400).contains(&time.as_secs()) {
            wrong(
                word,
                "cannot be the time of a session",
                "write a time from 1m to 400d, such as `8h`",
            );
        }
        login.session = time;
    }
    let is_on = |name: &str, usual: bool| {
        word(name).map_or(usual, |word| word.text.eq_ignore_ascii_case("on"))
    };
    login.pkce = is_on("pkce", true);
    login.hints_at_logout = is_on("logout_token_hint", false);
    login.userinfo = is_on("userinfo", false);
    login.verify = is_on("ssl_verify", true);
    login.trusted = word("ssl_trusted_certificate").map(|word| scope.path_beside_conf(&word.text));
    login.client_secret = word("client_secret").map(|word| secret::secret(word, &scope, cx));
    Some(login)
}
