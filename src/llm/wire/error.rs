//! Errors in every format: read from providers, written for clients, and our own.
//!
//! What a provider says is passed on as text for people, cleaned of secrets and of addresses that are
//! nobody's business; what a client's library acts on (status, type, code) is always ours to say, by
//! class.

use std::borrow::Cow;

use super::front::Format;
use super::json::{Duplicates, Index, Kind, Value, Writer};

/// What kind of error it is, in no format's words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// The request makes no sense to the provider.
    BadRequest,
    /// The key is not known or no longer good.
    BadKey,
    /// The account has no money left.
    NoMoney,
    /// The key may not do this.
    Forbidden,
    /// There is no such model or place.
    NotFound,
    /// The conversation is longer than the model reads.
    ContextLength,
    /// The body is larger than is taken.
    TooLarge,
    /// Too much in too short a time.
    RateLimit,
    /// What was asked or answered is held back by a rule.
    Blocked,
    /// The provider failed.
    Server,
    /// The provider is overloaded.
    Overloaded,
    /// Time ran out.
    Timeout,
}

impl Class {
    /// The class that a status alone tells.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::BadKey,
            402 => Self::NoMoney,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::BadRequest,
            _ => Self::Server,
        }
    }

    /// The status for it when none came.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::ContextLength | Self::Blocked => 400,
            Self::BadKey => 401,
            Self::NoMoney => 402,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::TooLarge => 413,
            Self::RateLimit => 429,
            Self::Server => 502,
            Self::Overloaded => 503,
            Self::Timeout => 504,
        }
    }

    /// Whether another try, here or elsewhere, may go better.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::RateLimit | Self::Server | Self::Overloaded | Self::Timeout
        )
    }
}

/// An error that a provider told, in its answer or in a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderError {
    /// What kind it is.
    pub class: Class,
    /// The status with which it came, or that its body names; none within a stream that began well.
    pub status: Option<u16>,
    /// The provider's own word for it (`rate_limit_error`, `RESOURCE_EXHAUSTED`), for logs.
    pub kind: String,
    /// What it says, cleaned and cut short.
    pub message: String,
    /// The member of the request it is about.
    pub param: Option<String>,
    /// How long it asks to wait, in milliseconds, when the body says so.
    pub retry_after: Option<u64>,
}

/// The longest message that is passed on, in bytes.
const MAX_MESSAGE: usize = 2_000;

impl ProviderError {
    /// Reads the body of an error, whatever it is: a provider behind a gateway may answer a page of HTML.
    #[must_use]
    pub fn of_body(format: Format, status: u16, body: &[u8]) -> Self {
        let mut index = Index::new();
        let read = index.read(body, Duplicates::LastCounts).ok();
        // Gemini wraps the errors of streams into an array.
        let root = read.map(|root| root.items().next().unwrap_or(root));
        root.and_then(|root| Self::of(format, Some(status), root))
            .unwrap_or_else(|| Self {
                class: Class::of_status(status),
                status: Some(status),
                kind: String::new(),
                message: format!("the provider answered {status} without saying why"),
                param: None,
                retry_after: None,
            })
    }

    /// Reads an error in an object, if there is one in it: the body of an answer, or an event.
    #[must_use]
    pub fn of(format: Format, status: Option<u16>, root: Value<'_>) -> Option<Self> {
        let failed = root
            .path(&["response", "error"])
            .filter(|_| format == Format::Responses);
        let event = (format == Format::Responses)
            .then(|| {
                root.member("type")
                    .filter(|kind| kind.is("error"))
                    .map(|_| root)
            })
            .flatten();
        let found = failed.or_else(|| root.some("error")).or(event);
        let error = match found {
            Some(error) => error,
            // Some proxies and servers of models name only a message or a detail.
            None if status.is_some_and(|status| status >= 400) => {
                root.some("message").or_else(|| root.some("detail"))?
            }
            None => return None,
        };
        let truth = match error.kind() {
            Kind::Boolean => error.boolean() == Some(true),
            Kind::String => !error.text()?.is_empty(),
            Kind::Object => true,
            Kind::Array | Kind::Number | Kind::Null => false,
        };
        if !truth {
            return None;
        }
        let text = |value: Value<'_>, name: &str| {
            value
                .member(name)
                .and_then(|value| value.string())
                .map(Cow::into_owned)
        };
        let message = error
            .string()
            .map(Cow::into_owned)
            .or_else(|| text(error, "message"))
            .or_else(|| text(root, "message"))
            .unwrap_or_default();
        let code = error.some("code");
        let named = code.and_then(|code| code.string()).map(Cow::into_owned);
        let number = code
            .and_then(|code| code.integer())
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| (400..600).contains(code));
        let kind = text(error, "status")
            .or_else(|| text(error, "type").filter(|kind| kind != "error"))
            .or_else(|| named.clone())
            .unwrap_or_default();
        let status = status.filter(|status| *status >= 400).or(number);
        let retry_after = error.some("details").and_then(|details| {
            let delays = details
                .items()
                .filter_map(|detail| detail.some("retryDelay")?.string());
            delays.filter_map(|delay| seconds(&delay)).next()
        });
        let details = error.some("details").map_or("", |details| details.raw());
        Some(Self {
            class: classify(
                &kind,
                named.as_deref().unwrap_or_default(),
                &message,
                details,
                status,
            ),
            status,
            kind: clean(&kind, 64),
            message: clean(&message, MAX_MESSAGE),
            param: text(error, "param").map(|param| clean(&param, 128)),
            retry_after,
        })
    }
}

/// `34s`, `0.5s` in milliseconds.
fn seconds(text: &str) -> Option<u64> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    (0.0..1e9)
        .contains(&seconds)
        .then_some((seconds * 1_000.0).ceil() as u64)
}

fn classify(kind: &str, code: &str, message: &str, details: &str, status: Option<u16>) -> Class {
    let says = |text: &str| {
        message
            .as_bytes()
            .windows(text.len())
            .any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
    };
    match code {
        "insufficient_quota" | "billing_hard_limit_reached" | "budget_exceeded" => {
            return Class::NoMoney;
        }
        "context_length_exceeded" | "string_above_max_length" => return Class::ContextLength,
        "model_not_found" => return Class::NotFound,
        "invalid_api_key" => return Class::BadKey,
        "content_filter" | "content_policy_violation" | "content_blocked" => return Class::Blocked,
        "rate_limit_exceeded" => return Class::RateLimit,
        _ => {}
    }
    if details.contains("API_KEY_INVALID") {
        return Class::BadKey;
    }
    let class = match kind {
        "insufficient_quota" | "billing_error" => Class::NoMoney,
        "authentication_error" | "UNAUTHENTICATED" => Class::BadKey,
        "permission_error" | "PERMISSION_DENIED" => Class::Forbidden,
        "not_found_error" | "NOT_FOUND" => Class::NotFound,
        "request_too_large" => Class::TooLarge,
        "rate_limit_error" | "RESOURCE_EXHAUSTED" | "requests" | "tokens" => Class::RateLimit,
        "overloaded_error" | "UNAVAILABLE" | "overloaded" => Class::Overloaded,
        "timeout_error" | "DEADLINE_EXCEEDED" => Class::Timeout,
        "api_error" | "server_error" | "INTERNAL" | "UNKNOWN" => match status {
            Some(status @ 500..) => Class::of_status(status),
            _ => Class::Server,
        },
        "invalid_request_error" | "INVALID_ARGUMENT" | "FAILED_PRECONDITION" => match status {
            Some(status @ 401..) => Class::of_status(status),
            _ => Class::BadRequest,
        },
        _ => status.map_or(Class::Server, Class::of_status),
    };
    match class {
        Class::BadRequest if says("credit balance is too low") => Class::NoMoney,
        Class::BadRequest
            if says("prompt is too long")
                || says("maximum context length")
                || says("context window")
                || says("exceeds the maximum number of tokens") =>
        {
            Class::ContextLength
        }
        other => other,
    }
}

/// A text of a provider without secrets, addresses of machines and control characters, cut short.
#[must_use]
pub fn clean(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    let mut rest = text;
    while !rest.is_empty() && out.len() < most {
        let word_end = rest
            .find(|c: char| {
                c.is_whitespace()
                    || matches!(c, '"' | '\'' | '`' | ',' | '(' | ')' | '<' | '>' | ';')
            })
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_end);
        if is_secret(word) {
            out.push_str("[secret]");
        } else if is_private_address(word) {
            out.push_str("[address]");
        } else {
            out.push_str(word);
        }
        let Some(separator) = after.chars().next() else {
            break;
        };
        out.push(if separator.is_control() && separator != '\n' {
            ' '
        } else {
            separator
        });
        rest = &after[separator.len_utf8()..];
    }
    if out.len() > most {
        let end = (0..=most).rev().find(|end| out.is_char_boundary(*end));
        out.truncate(end.unwrap_or(0));
        out.push('…');
    }
    // What is left of control characters within words.
    out.retain(|c| !c.is_control() || c == '\n');
    out
}

/// Keys as providers make them, whole or with stars in them, and whatever looks as random as one.
fn is_secret(word: &str) -> bool {
    const STARTS: [&str; 14] = [
        "sk-", "oc-", "AIza", "ya29.", "gsk_", "xai-", "pk-", "hf_", "r8_", "nvapi-", "fw_",
        "csk-", "tgp_", "AKIA",
    ];
    let bare = word.rsplit(['=', ':']).next().unwrap_or(word);
    let bare = bare.trim_end_matches(['.', '!', '?']);
    if STARTS
        .iter()
        .any(|start| bare.strip_prefix(start).is_some_and(|rest| rest.len() >= 4))
    {
        return true;
    }
    if bare.contains("***") {
        return true;
    }
    let random =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=');
    let digits = bare.chars().filter(char::is_ascii_digit).count();
    let capitals = bare.chars().filter(char::is_ascii_uppercase).count();
    let small = bare.chars().filter(char::is_ascii_lowercase).count();
    // A name with an underscore in front is an id that helps support (`req_…`), not a secret.
    bare.len() >= 32
        && bare.chars().all(random)
        && !bare.contains("://")
        && !bare.starts_with("req_")
        && digits >= 4
        && (capitals + small) >= 8
        && (capitals >= 4 || bare.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Addresses of machines that are not on the open web under a name.
fn is_private_address(word: &str) -> bool {
    let (rest, named) = match word.split_once("://") {
        Some((_, rest)) => (rest, true),
        None => (word, false),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = if authority.starts_with('[') {
        authority
            .split(']')
            .next()
            .unwrap_or_default()
            .trim_start_matches('[')
    } else {
        authority.split(':').next().unwrap_or_default()
    };
    let host = host.trim_end_matches('.');
    let numeric = host.parse::<std::net::IpAddr>().is_ok();
    let inner = host == "localhost"
        || [
            ".local",
            ".internal",
            ".svc",
            ".lan",
            ".cluster",
            ".localdomain",
        ]
        .iter()
        .any(|end| host.ends_with(end))
        || host.contains(".svc.");
    if named {
        // With user information, by number, without a dot, or on a port of its own.
        return numeric || inner || !host.contains('.') || authority != host || rest.contains('@');
    }
    numeric || (inner && host.len() > 6)
}

/// An error of the gateway itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Code {
    /// No key, or one that nobody knows.
    InvalidApiKey,
    /// The key was taken back.
    KeyRevoked,
    /// The key's time is over.
    KeyExpired,
    /// The key's time has not come.
    KeyNotActive,
    /// The key is bound to another gateway.
    GatewayMismatch,
    /// The key may not be used from this address.
    IpNotAllowed,
    /// The key may not be used from this page.
    OriginNotAllowed,
    /// The key may not use this model.
    ModelNotAllowed,
    /// There is no such model.
    ModelNotFound,
    /// The budget is used up.
    BudgetExceeded,
    /// Too many requests, tokens or calls at once.
    RateLimitExceeded,
    /// The queue is full.
    QueueFull,
    /// It waited too long in the queue.
    QueueTimeout,
    /// No provider is fit to be tried.
    NoHealthyUpstream,
    /// No provider is in the region that is asked for.
    RegionUnavailable,
    /// Every try failed.
    UpstreamError,
    /// A provider refused our key.
    UpstreamCredentialsRejected,
    /// The first token, or the end, did not come in time.
    UpstreamTimeout,
    /// A stream ended before its end.
    UpstreamTruncated,
    /// A provider answered with nothing.
    EmptyAnswer,
    /// The body is too large.
    RequestTooLarge,
    /// The conversation is longer than the model reads.
    ContextLengthExceeded,
    /// The body is not JSON that we take.
    InvalidJson,
    /// A member of the body is wrong.
    InvalidValue,
    /// A member of the body cannot be said to this model's provider.
    UnsupportedParameter,
    /// A rule holds it back.
    ContentBlocked,
    /// It cannot be accounted, so it was not made.
    LedgerUnavailable,
    /// There is no memory for it now.
    MemoryFull,
}

impl Code {
    /// Its class, its type and its name as clients see them.
    #[must_use]
    pub const fn row(self) -> (Class, &'static str, &'static str) {
        const REQUEST: &str = "invalid_request_error";
        match self {
            Self::InvalidApiKey => (Class::BadKey, "authentication_error", "invalid_api_key"),
            Self::KeyRevoked => (Class::BadKey, "authentication_error", "key_revoked"),
            Self::KeyExpired => (Class::BadKey, "authentication_error", "key_expired"),
            Self::KeyNotActive => (Class::BadKey, "authentication_error", "key_not_active"),
            Self::GatewayMismatch => (Class::Forbidden, "permission_error", "gateway_mismatch"),
            Self::IpNotAllowed => (Class::Forbidden, "permission_error", "ip_not_allowed"),
            Self::OriginNotAllowed => (Class::Forbidden, "permission_error", "origin_not_allowed"),
            Self::ModelNotAllowed => (Class::Forbidden, "permission_error", "model_not_allowed"),
            Self::ModelNotFound => (Class::NotFound, REQUEST, "model_not_found"),
            Self::BudgetExceeded => (Class::NoMoney, "insufficient_quota", "budget_exceeded"),
            Self::RateLimitExceeded => {
                (Class::RateLimit, "rate_limit_error", "rate_limit_exceeded")
            }
            Self::QueueFull => (Class::Overloaded, "overloaded_error", "queue_full"),
            Self::QueueTimeout => (Class::Overloaded, "overloaded_error", "queue_timeout"),
            Self::NoHealthyUpstream => (Class::Overloaded, "api_error", "no_healthy_upstream"),
            Self::RegionUnavailable => (Class::Overloaded, "api_error", "region_unavailable"),
            Self::UpstreamError => (Class::Server, "api_error", "upstream_error"),
            Self::UpstreamCredentialsRejected => {
                (Class::Server, "api_error", "upstream_credentials_rejected")
            }
            Self::UpstreamTimeout => (Class::Timeout, "timeout_error", "upstream_timeout"),
            Self::UpstreamTruncated => (Class::Server, "api_error", "upstream_truncated"),
            Self::EmptyAnswer => (Class::Server, "api_error", "empty_answer"),
            Self::RequestTooLarge => (Class::TooLarge, REQUEST, "request_too_large"),
            Self::ContextLengthExceeded => {
                (Class::ContextLength, REQUEST, "context_length_exceeded")
            }
            Self::InvalidJson => (Class::BadRequest, REQUEST, "invalid_json"),
            Self::InvalidValue => (Class::BadRequest, REQUEST, "invalid_value"),
            Self::UnsupportedParameter => (Class::BadRequest, REQUEST, "unsupported_parameter"),
            Self::ContentBlocked => (Class::Blocked, REQUEST, "content_blocked"),
            Self::LedgerUnavailable => (Class::Overloaded, "api_error", "ledger_unavailable"),
            Self::MemoryFull => (Class::Overloaded, "overloaded_error", "memory_full"),
        }
    }
}

/// An error as a client is told it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// What kind it is.
    pub class: Class,
    /// The status for it in the formats that have no other word.
    pub status: u16,
    /// OpenAI's `type`.
    pub kind: Cow<'static, str>,
    /// OpenAI's `code`.
    pub code: Option<Cow<'static, str>>,
    /// What it says.
    pub message: String,
    /// The member of the request it is about.
    pub param: Option<String>,
    /// All that were asked, each with what came of it, with commas; empty if that says nothing.
    pub attempts: Box<str>,
}

impl Told {
    /// An error of our own.
    #[must_use]
    pub fn own(code: Code, message: impl Into<String>) -> Self {
        let (class, kind, name) = code.row();
        Self {
            class,
            status: class.status(),
            kind: Cow::Borrowed(kind),
            code: Some(Cow::Borrowed(name)),
            message: message.into(),
            param: None,
            attempts: Box::default(),
        }
    }

    /// The same about a member of the request.
    #[must_use]
    pub fn about(mut self, param: impl Into<String>) -> Self {
        let param = param.into();
        self.param = (!param.is_empty()).then_some(param);
        self
    }

    /// An error of a provider. A refused key of ours is not the client's business: 401 and 403 tell it
    /// that its own key is bad.
    #[must_use]
    pub fn provider(error: &ProviderError) -> Self {
        let refused = matches!(
            error.class,
            Class::BadKey | Class::Forbidden | Class::NoMoney
        );
        if refused {
            let message = "the provider refused the gateway's own credentials or account";
            return Self::own(Code::UpstreamCredentialsRejected, message);
        }
        let (kind, code) = match error.class {
            Class::ContextLength => ("invalid_request_error", "context_length_exceeded"),
            Class::NotFound => ("invalid_request_error", "model_not_found"),
            Class::TooLarge => ("invalid_request_error", "request_too_large"),
            Class::Blocked => ("invalid_request_error", "content_blocked"),
            Class::BadRequest => ("invalid_request_error", "invalid_value"),
            Class::RateLimit => ("rate_limit_error", "rate_limit_exceeded"),
            Class::Timeout => ("timeout_error", "upstream_timeout"),
            Class::Overloaded => ("overloaded_error", "upstream_error"),
            _ => ("api_error", "upstream_error"),
        };
        // A status that came is kept where it says the same as the class.
        let status = error
            .status
            .filter(|status| Class::of_status(*status) == error.class)
            // A place to go to says nothing to a client that asked for an answer.
            .filter(|status| (400..600).contains(status) && *status != 529)
            .unwrap_or(error.class.status());
        Self {
            class: error.class,
            status,
            kind: Cow::Borrowed(kind),
            code: Some(Cow::Borrowed(code)),
            message: if error.message.is_empty() {
                "the provider gave no reason".to_owned()
            } else {
                error.message.clone()
            },
            param: error.param.clone(),
            attempts: Box::default(),
        }
    }

    /// The status for a client of a format: Anthropic's has its own word for an overload.
    #[must_use]
    pub const fn status_for(&self, format: Format) -> u16 {
        match (format, self.class) {
            (Format::Anthropic, Class::Overloaded) => 529,
            _ => self.status,
        }
    }

    /// Whether a client's library should try again: the value of `x-should-retry`, where it is not
    /// what the library would do anyway.
    #[must_use]
    pub const fn should_retry(&self) -> bool {
        self.class.is_transient()
    }

    /// The body for a client of a format. `request_id` is shown where the format has a place for it.
    #[must_use]
    pub fn body(&self, format: Format, request_id: &str) -> String {
        let mut out = Writer::new();
        self.write(format, request_id, &mut out);
        out.finish()
    }

    /// A list of what was tried, if anything was.
    fn write_attempts(&self, out: &mut Writer) {
        if self.attempts.is_empty() {
            return;
        }
        out.key("attempts").open_array();
        for attempt in self.attempts.split(',') {
            out.string(attempt);
        }
        out.close_array();
    }

    /// The member `error` as OpenAI writes it.
    fn write_openai(&self, out: &mut Writer) {
        out.key("error").open();
        out.key("message").string(&self.message);
        out.key("type").string(&self.kind);
        out.key("param");
        match &self.param {
            Some(param) => out.string(param),
            None => out.null(),
        };
        out.key("code");
        match &self.code {
            Some(code) => out.string(code),
            None => out.null(),
        };
        self.write_attempts(out);
        out.close();
    }

    fn write(&self, format: Format, request_id: &str, out: &mut Writer) {
        match format {
            Format::OpenAi | Format::Responses => {
                out.open();
                self.write_openai(out);
                out.close();
            }
            Format::Anthropic => {
                let kind = match self.class {
                    Class::BadRequest | Class::ContextLength | Class::Blocked => {
                        "invalid_request_error"
                    }
                    Class::BadKey => "authentication_error",
                    Class::NoMoney => "billing_error",
                    Class::Forbidden => "permission_error",
                    Class::NotFound => "not_found_error",
                    Class::TooLarge => "request_too_large",
                    Class::RateLimit => "rate_limit_error",
                    Class::Server => "api_error",
                    Class::Overloaded => "overloaded_error",
                    Class::Timeout => "timeout_error",
                };
                out.open_as("error").key("error").open();
                out.key("type").string(kind);
                out.key("message").string(&self.message);
                self.write_attempts(out);
                out.close();
                out.key("request_id").string(request_id).close();
            }
            Format::Gemini => {
                let kind = match self.class {
                    Class::BadRequest | Class::ContextLength | Class::Blocked | Class::TooLarge => {
                        "INVALID_ARGUMENT"
                    }
                    Class::BadKey => "UNAUTHENTICATED",
                    Class::Forbidden => "PERMISSION_DENIED",
                    Class::NotFound => "NOT_FOUND",
                    Class::NoMoney | Class::RateLimit => "RESOURCE_EXHAUSTED",
                    Class::Server => "INTERNAL",
                    Class::Overloaded => "UNAVAILABLE",
                    Class::Timeout => "DEADLINE_EXCEEDED",
                };
                out.open().key("error").open();
                out.key("code").integer(u64::from(self.status));
                out.key("message").string(&self.message);
                out.key("status").string(kind);
                self.write_attempts(out);
                out.key("details").open_array();
                if let Some(code) = &self.code {
                    out.open();
                    out.key("@type")
                        .string("type.googleapis.com/google.rpc.ErrorInfo");
                    out.key("reason").string(&code.to_ascii_uppercase()).close();
                }
                out.close_array().close().close();
            }
            Format::Ollama => {
                out.open().key("error").string(&self.message);
                self.write_attempts(out);
                out.close();
            }
        }
    }

    /// The last event of a stream that fails after its start, as a client of a format reads it. Nothing
    /// follows it: a terminator would make it a success.
    #[must_use]
    pub fn event(&self, format: Format, request_id: &str) -> String {
        let mut out = Writer::new();
        match format {
            Format::OpenAi | Format::Gemini => {
                out.plain("data: ");
                self.write(format, request_id, &mut out);
                out.plain("\n\n");
            }
            Format::Responses => {
                out.plain("event: error\ndata: ").open();
                out.key("type").string("error");
                out.key("code")
                    .string(self.code.as_deref().unwrap_or(&self.kind));
                out.key("message").string(&self.message);
                out.key("param");
                match &self.param {
                    Some(param) => out.string(param),
                    None => out.null(),
                };
                // The official library for Python raises an error only for a member `error`; without one
                // a stream that broke off looks like one that ended.
                self.write_openai(&mut out);
                out.close().plain("\n\n");
            }
            Format::Anthropic => {
                out.plain("event: error\ndata: ");
                self.write(format, request_id, &mut out);
                out.plain("\n\n");
            }
            Format::Ollama => {
                self.write(format, request_id, &mut out);
                out.plain("\n");
            }
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_every_provider_have_their_class() {
        use Class::*;
        use Format::{Anthropic, Gemini, Ollama, OpenAi};
        let cases: &[(Format, u16, &str, Class)] = &[
            (
                OpenAi,
                400,
                r#"{"error":{"message":"m","type":"invalid_request_error","param":"x","code":null}}"#,
                BadRequest,
            ),
            (
                OpenAi,
                401,
                r#"{"error":{"message":"m","type":"invalid_request_error","code":"invalid_api_key"}}"#,
                BadKey,
            ),
            (
                OpenAi,
                429,
                r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                NoMoney,
            ),
            (
                OpenAi,
                429,
                r#"{"error":{"message":"m","type":"tokens","code":"rate_limit_exceeded"}}"#,
                RateLimit,
            ),
            (
                OpenAi,
                404,
                r#"{"error":{"message":"m","type":"invalid_request_error","code":"model_not_found"}}"#,
                NotFound,
            ),
            (
                OpenAi,
                400,
                r#"{"error":{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
                ContextLength,
            ),
            (
                OpenAi,
                500,
                r#"{"error":{"message":"m","type":"server_error"}}"#,
                Server,
            ),
            (OpenAi, 502, "<html>bad gateway</html>", Server),
            (OpenAi, 422, r#"{"detail":"x"}"#, BadRequest),
            (
                Anthropic,
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 3 tokens"}}"#,
                ContextLength,
            ),
            (
                Anthropic,
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                NoMoney,
            ),
            (
                Anthropic,
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"m"}}"#,
                BadKey,
            ),
            (
                Anthropic,
                402,
                r#"{"type":"error","error":{"type":"billing_error","message":"m"}}"#,
                NoMoney,
            ),
            (
                Anthropic,
                403,
                r#"{"type":"error","error":{"type":"permission_error","message":"m"}}"#,
                Forbidden,
            ),
            (
                Anthropic,
                413,
                r#"{"type":"error","error":{"type":"request_too_large","message":"m"}}"#,
                TooLarge,
            ),
            (
                Anthropic,
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"m"}}"#,
                RateLimit,
            ),
            (
                Anthropic,
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
                Overloaded,
            ),
            (
                Anthropic,
                504,
                r#"{"type":"error","error":{"type":"timeout_error","message":"m"}}"#,
                Timeout,
            ),
            (
                Gemini,
                400,
                r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
                BadKey,
            ),
            (
                Gemini,
                429,
                r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"34s"}]}}]"#,
                RateLimit,
            ),
            (
                Gemini,
                503,
                r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#,
                Overloaded,
            ),
            (
                Gemini,
                504,
                r#"{"error":{"code":504,"message":"m","status":"DEADLINE_EXCEEDED"}}"#,
                Timeout,
            ),
            (Ollama, 404, r#"{"error":"model 'x' not found"}"#, NotFound),
            (Ollama, 503, r#"{"error":"server busy"}"#, Overloaded),
        ];
        for (format, status, body, class) in cases {
            let error = ProviderError::of_body(*format, *status, body.as_bytes());
            assert_eq!(error.class, *class, "{body}");
            assert_eq!(error.status, Some(*status));
        }
        let waits = ProviderError::of_body(Gemini, 429, cases[19].2.as_bytes());
        assert_eq!(waits.retry_after, Some(34_000));
    }

    #[test]
    fn a_refused_key_of_ours_is_never_a_401_to_the_client() {
        for status in [401, 402, 403] {
            let error = ProviderError::of_body(Format::OpenAi, status, b"{}");
            let told = Told::provider(&error);
            assert_eq!(
                (told.status, told.code.as_deref()),
                (502, Some("upstream_credentials_rejected"))
            );
        }
    }

    #[test]
    fn an_overload_has_the_status_that_the_client_knows() {
        let error = ProviderError::of_body(Format::Anthropic, 529, b"{}");
        let told = Told::provider(&error);
        assert_eq!(
            (
                told.status_for(Format::OpenAi),
                told.status_for(Format::Anthropic)
            ),
            (503, 529)
        );
        let error = ProviderError::of_body(Format::OpenAi, 500, b"{}");
        assert_eq!(Told::provider(&error).status, 500);
    }

    #[test]
    fn secrets_and_inner_addresses_leave_a_message_and_the_rest_stays() {
        for (text, expected) in [
            (
                "Incorrect API key provided: sk-proj-ab**********wxyz. You can find your API key at https://platform.openai.com/account/api-keys.",
                "Incorrect API key provided: [secret] You can find your API key at https://platform.openai.com/account/api-keys.",
            ),
            ("bad key=AIzaSyA1234567890 here", "bad [secret] here"),
            (
                "dial tcp 10.0.0.7:8080: connection refused",
                "dial tcp [address] connection refused",
            ),
            (
                "Post \"http://vllm.prod.svc.cluster.local:8000/v1\": EOF",
                "Post \"[address]\": EOF",
            ),
            ("see http://user:pass@example.com/x", "see [address]"),
            (
                "token eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AAAA1234",
                "token [secret]",
            ),
            (
                "max_tokens: 5 is less than 10",
                "max_tokens: 5 is less than 10",
            ),
            (
                "request req_011CSHoEeqs5C35K2UUqR7Fy failed",
                "request req_011CSHoEeqs5C35K2UUqR7Fy failed",
            ),
            (
                "messages.0.content.1.source.base64: not valid",
                "messages.0.content.1.source.base64: not valid",
            ),
            ("a\u{1b}[31mb", "a[31mb"),
        ] {
            assert_eq!(clean(text, 500), expected);
        }
        assert_eq!(clean("ääää", 3).chars().next(), Some('ä'));
    }

    #[test]
    fn an_error_has_the_shape_of_the_clients_format() {
        let told = Told::own(Code::ModelNotFound, "no model `x`").about("model");
        for (format, body) in [
            (
                Format::OpenAi,
                r#"{"error":{"message":"no model `x`","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#,
            ),
            (
                Format::Anthropic,
                r#"{"type":"error","error":{"type":"not_found_error","message":"no model `x`"},"request_id":"r1"}"#,
            ),
            (
                Format::Gemini,
                r#"{"error":{"code":404,"message":"no model `x`","status":"NOT_FOUND","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"MODEL_NOT_FOUND"}]}}"#,
            ),
            (Format::Ollama, r#"{"error":"no model `x`"}"#),
        ] {
            assert_eq!(told.body(format, "r1"), body);
        }
        assert!(
            told.event(Format::Anthropic, "r1")
                .starts_with("event: error\ndata: {\"type\":\"error\"")
        );
        assert!(
            told.event(Format::Responses, "r1").starts_with(
                "event: error\ndata: {\"type\":\"error\",\"code\":\"model_not_found\""
            )
        );
        assert!(told.event(Format::Ollama, "r1").ends_with("}\n"));
    }
}
