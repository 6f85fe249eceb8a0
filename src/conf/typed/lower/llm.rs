//! `llm_provider` and `llm_model`.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use super::proxy::{self, Place};
use super::scope::{Scope, has_word, parameter};
use super::{Cx, secret, tls};
use crate::conf::check::distance;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::source::Span;
use crate::conf::template::Template;
use crate::conf::typed::llm::{
    APIS, Api, Bounds, Cache, CacheScope, Causes, Choosing, Common, Dialect, Downgrade, Field, Llm,
    Model, MostCalls, Provider, Queue, Route, Stickiness, Strategy, Tags, Target,
    WITHOUT_RESPONSES,
};
use crate::conf::typed::proxy::{self as typed, HttpVersion, NextUpstream, Proxy, Scheme};
use crate::conf::typed::secret::SecretSource;
use crate::conf::typed::tls::{Group, PeerTls, Protocols, Suite};
use crate::conf::typed::upstream::Upstream;
use crate::conf::variable::{Core, Variable};
use crate::unit;

/// The most that the head of an answer may take, bytes.
const HEAD: usize = 32 << 10;

/// How long a call waits in a `queue` that does not say,
const PATIENCE: Duration = Duration::from_secs(30);

/// and how many bytes may wait there.
const QUEUED: u64 = 64 << 20;

/// The most calls that a provider can be said to get at once.
const MOST_CALLS: u32 = 65_535;

/// What may wait for a slow client before the provider waits too, bytes.
const WAITING: usize = 256 << 10;

/// All that `http {}` says of language models. The addresses of providers are added to the groups.
pub fn llm(http: &Scope<'_>, upstreams: &mut Vec<Arc<Upstream>>, cx: &mut Cx) -> Llm {
    let mut llm = Llm {
        cache_size: http.size("llm_cache_size"),
        body_memory: http.size("llm_body_memory") as u64,
        ..Llm::default()
    };
    for node in http.own("llm_provider") {
        let Some(provider) = provider(node, http, upstreams, cx) else {
            continue;
        };
        let first = llm
            .providers
            .iter()
            .find(|known| known.name == provider.name);
        if let Some(first) = first {
            twice("provider", &provider.name, provider.span, first.span, cx);
            continue;
        }
        llm.providers.push(Arc::new(provider));
    }
    for node in http.own("llm_model") {
        let Some(model) = model(node, http, &llm.providers, cx) else {
            continue;
        };
        let is_it = |known: &&Model| known.name.eq_ignore_ascii_case(&model.name);
        if let Some(first) = llm.models.iter().find(is_it) {
            twice("model", &model.name, model.span, first.span, cx);
            continue;
        }
        llm.models.push(model);
    }
    llm
}

fn twice(what: &str, name: &str, span: Span, first: Span, cx: &mut Cx) {
    let problem = Diagnostic::error(
        Code::DUPLICATE,
        span,
        format!("the {what} `{name}` stands twice"),
    );
    cx.report(problem.label(first, "first here"));
}

fn provider(
    node: &Node,
    http: &Scope<'_>,
    upstreams: &mut Vec<Arc<Upstream>>,
    cx: &mut Cx,
) -> Option<Provider> {
    let name = node.arguments.first()?;
    let may_be_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.text.is_empty() || name.text.len() > 64 || !name.text.bytes().all(may_be_name) {
        let problem = Diagnostic::error(
            Code::BAD_LLM_PROVIDER,
            name.span,
            format!("`{}` cannot be the name of a provider", name.text),
        );
        cx.report(problem.hint("use letters, digits, `-`, `_` and `.`"));
        return None;
    }
    let scope = http.inside(node.block.as_deref()?);
    let word = |name: &str| (scope.own(name).first()).and_then(|line| line.arguments.first());
    let kind = word("api").map_or("openai", |word| &word.text);
    let kind = APIS.iter().copied().find(|known| *known == kind)?;
    let (api, usual) = Api::of_word(kind);
    let azure = ["api_version", "deployment"].map(word);
    for stray in azure.iter().flatten().filter(|_| kind != "azure") {
        let problem = Diagnostic::error(
            Code::BAD_LLM_PROVIDER,
            stray.span,
            "only providers of Azure have versions and deployments",
        );
        cx.report(problem.hint("write `api azure;`, or remove this line"));
    }
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    for wrong in azure.iter().flatten() {
        if wrong.text.is_empty() || !wrong.text.bytes().all(is_token) {
            let problem = Diagnostic::error(
                Code::BAD_LLM_PROVIDER,
                wrong.span,
                format!("`{}` is no version and no deployment", wrong.text),
            );
            cx.report(problem.hint("write it as Azure shows it, such as `2024-10-21`"));
        }
    }
    let [version, deployment] = azure.map(|word| word.map(|word| word.text.clone()));
    let dialect = match kind {
        "azure" => Dialect::Azure {
            version,
            deployment,
        },
        "openclaw" => Dialect::Gateway,
        _ => Dialect::Plain,
    };
    let address = match word("base_url") {
        Some(word) => word.clone(),
        None if usual.is_empty() => {
            let problem = Diagnostic::error(
                Code::BAD_LLM_PROVIDER,
                name.span,
                format!("nobody knows where the provider `{}` is", name.text),
            );
            let hint = match kind {
                "azure" => "add `base_url https://RESOURCE.openai.azure.com;`",
                _ => "add `base_url https://GATEWAY;`, without `/v1`",
            };
            cx.report(problem.hint(hint));
            return None;
        }
        None => Word {
            text: usual.into(),
            ..name.clone()
        },
    };
    let (asking, reading, base_path) = peers(&address, &scope, upstreams, cx)?;
    let fields = scope.own("header").iter().filter_map(|line| {
        let [name, value] = line.arguments.as_slice() else {
            return None;
        };
        field(name, value, cx)
    });
    let fields = fields.collect();
    Some(Provider {
        name: name.text.clone(),
        kind,
        api,
        base_url: address.text.clone(),
        dialect,
        has_responses: !WITHOUT_RESPONSES.contains(&kind),
        asking: Arc::new(asking),
        reading: Arc::new(reading),
        base_path,
        keys: keys(&scope, cx),
        max_connections: most_calls(&scope, cx),
        queue: queue(&scope, cx),
        region: word("region").and_then(|word| region(word, &word.text, cx)),
        retries: scope.number("retries") as u32,
        total_timeout: scope.time("total_timeout"),
        drains: word("client_gone").is_some_and(|word| &*word.text == "drain"),
        fields,
        passthrough: word("passthrough").is_some_and(|word| &*word.text == "on"),
        span: name.span,
    })
}

/// How many calls a provider gets at once.
fn most_calls(scope: &Scope<'_>, cx: &mut Cx) -> MostCalls {
    let any = MostCalls::Fixed(0);
    let Some(line) = scope.own("max_connections").first() else {
        return any;
    };
    let Some((first, others)) = line.arguments.split_first() else {
        return any;
    };
    let number = |text: &str, least| {
        let number: u32 = text.parse().ok()?;
        (least..=MOST_CALLS).contains(&number).then_some(number)
    };
    let is_adaptive = &*first.text == "auto";
    let mut wrong = |span, text: String, hint: &str| {
        cx.report(Diagnostic::error(Code::BAD_LLM_MOST_CALLS, span, text).hint(hint));
    };
    let fixed = number(&first.text, 0);
    if !is_adaptive && fixed.is_none() {
        let text = format!("`{}` is no number of calls", first.text);
        let hint = "write a number from 0 (any number) to 65535, or `auto`";
        wrong(first.span, text, hint);
        return any;
    }
    let mut bounds = Bounds::USUAL;
    let mut written = None;
    for word in others {
        let read = match word.text.split_once('=') {
            Some(("min", value)) => number(value, 1).map(|least| bounds.min = least),
            Some(("max", value)) => number(value, 1).map(|most| bounds.max = most),
            _ => None,
        };
        if read.is_none() {
            let text = format!("`{}` is no bound of `max_connections auto`", word.text);
            let hint = "write it as `min=4` or `max=1000`, from 1 to 65535";
            wrong(word.span, text, hint);
        }
        written = Some(word);
    }
    match (fixed, written) {
        (Some(_), Some(word)) => {
            let text = "only a number of calls that adapts has bounds".to_owned();
            let hint = "write `max_connections auto min=4 max=100;`, or the number alone";
            wrong(word.span, text, hint);
        }
        (None, Some(word)) if bounds.min > bounds.max => {
            let Bounds { min, max } = bounds;
            let text = format!("`max={max}` is less than `min={min}`");
            let hint = "without `min=` it is 4, without `max=` 1000";
            wrong(word.span, text, hint);
            bounds.max = bounds.min;
        }
        _ => {}
    }
    fixed.map_or(MostCalls::Adaptive(bounds), MostCalls::Fixed)
}

/// The calls that may wait for a provider.
fn queue(scope: &Scope<'_>, cx: &mut Cx) -> Option<Queue> {
    let line = scope.own("queue").first()?;
    if scope.text("max_connections") == "0" {
        let problem = Diagnostic::warning(
            Code::QUEUE_WITHOUT_LIMIT,
            line.name.span,
            "nobody ever waits in this `queue`",
        );
        cx.report(problem.hint("say with `max_connections` how many calls the provider takes"));
    }
    let mut queue = Queue {
        room: line.arguments.first()?.text.parse().ok()?,
        bytes: QUEUED,
        timeout: PATIENCE,
    };
    for word in line.arguments.iter().skip(1) {
        let read = match word.text.split_once('=') {
            Some(("timeout", value)) => unit::time::milliseconds(value)
                .filter(|time| !time.is_zero())
                .map(|time| queue.timeout = time),
            Some(("bytes", value)) => unit::size::size(value)
                .filter(|bytes| *bytes > 0)
                .map(|bytes| queue.bytes = bytes),
            _ => None,
        };
        if read.is_none() {
            let problem = Diagnostic::error(
                Code::BAD_LLM_PROVIDER,
                word.span,
                format!("`{}` says nothing to this queue", word.text),
            );
            cx.report(problem.hint("write `queue 100 timeout=30s bytes=64m;`"));
        }
    }
    Some(queue)
}

/// The name of a region: a word, since several are written with commas.
fn region(word: &Word, name: &str, cx: &mut Cx) -> Option<Box<str>> {
    let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(may_be) {
        let problem = Diagnostic::error(
            Code::BAD_LLM_REGION,
            word.span,
            format!("`{name}` is no name of a region"),
        );
        cx.report(problem.hint("write one word, such as `eu` or `us-east`"));
        return None;
    }
    Some(name.into())
}

/// The keys for a provider, each of them once.
fn keys(scope: &Scope<'_>, cx: &mut Cx) -> Vec<SecretSource> {
    let mut keys: Vec<(SecretSource, Span)> = Vec::new();
    let words = scope.own("api_key").iter();
    for word in words.filter_map(|line| line.arguments.first()) {
        let source = secret::secret(word, scope, cx);
        match keys.iter().find(|(known, _)| *known == source) {
            Some((_, first)) => {
                let problem =
                    Diagnostic::error(Code::DUPLICATE, word.span, "the same key stands twice");
                cx.report(problem.label(*first, "first here"));
            }
            None => keys.push((source, word.span)),
        }
    }
    keys.into_iter().map(|(source, _)| source).collect()
}

/// How a provider at an address is reached, how its answer is read, and the path of the address.
fn peers(
    address: &Word,
    scope: &Scope<'_>,
    upstreams: &mut Vec<Arc<Upstream>>,
    cx: &mut Cx,
) -> Option<(Proxy, Proxy, Box<[u8]>)> {
    let place = Place {
        name: b"",
        refuses_path: None,
        caches: &[],
    };
    if address.text.contains(['$', '?', '#']) {
        let problem = Diagnostic::error(
            Code::BAD_LLM_PROVIDER,
            address.span,
            format!("`{}` is not the address of an API", address.text),
        );
        cx.report(problem.hint("write it as `https://api.example.com/v1`"));
        return None;
    }
    let (target, _) = proxy::target(address, Scheme::OF_PROXY, scope, place, upstreams, cx)?;
    let typed::Target::Group { scheme, uri, .. } = &target else {
        return None;
    };
    let base_path = uri.as_deref().unwrap_or_default();
    let base_path = base_path.strip_suffix(b"/").unwrap_or(base_path).into();
    let tls = scheme.is_secure().then(|| Arc::new(secured(scope)));
    let made = |target, read_timeout| Proxy {
        target,
        tls: tls.clone(),
        connect_timeout: scope.time("connect_timeout"),
        read_timeout,
        ..usual_proxy()
    };
    let again = match &target {
        typed::Target::Group {
            scheme,
            upstream,
            host,
            port,
            uri,
        } => typed::Target::Group {
            scheme: *scheme,
            upstream: *upstream,
            host: host.clone(),
            port: port.clone(),
            uri: uri.clone(),
        },
        typed::Target::Dynamic(_) => return None,
    };
    let asking = made(target, scope.time("first_token_timeout"));
    let reading = made(again, scope.time("chunk_timeout"));
    Some((asking, reading, base_path))
}

/// TLS with a provider: verified unless it is said otherwise.
fn secured(scope: &Scope<'_>) -> PeerTls {
    let verify = scope.own("ssl_verify").first();
    let verify = verify.and_then(|line| line.arguments.first());
    PeerTls {
        protocols: Protocols {
            tls12: true,
            tls13: true,
        },
        suites: Suite::ALL.to_vec(),
        groups: Group::USUAL.to_vec(),
        name: Template::from_variable(Variable::Core(Core::ProxyHost)),
        sends_name: true,
        verify: verify.is_none_or(|word| &*word.text == "on"),
        verify_depth: 100,
        trusted: match scope.own("ssl_trusted_certificate") {
            [] => None,
            _ => tls::file(scope, "ssl_trusted_certificate"),
        },
        revoked: None,
        certificate: None,
        reuses_sessions: true,
    }
}

/// What holds for every provider.
fn usual_proxy() -> Proxy {
    Proxy {
        target: typed::Target::Dynamic(Template::default()),
        schemes: Scheme::OF_PROXY,
        tls: None,
        set_fields: Vec::new(),
        replaced: Vec::new(),
        method: None,
        body: None,
        pass_request_headers: false,
        pass_request_body: true,
        http_version: HttpVersion::Http11,
        hidden: Vec::new(),
        ignored: Vec::new(),
        redirects: Vec::new(),
        cookie_domains: Vec::new(),
        cookie_paths: Vec::new(),
        cookie_flags: Vec::new(),
        buffering: true,
        buffer_size: HEAD,
        buffers: WAITING,
        request_buffering: true,
        cache: None,
        store: None,
        intercept_errors: false,
        ignore_client_abort: false,
        force_ranges: false,
        pass_trailers: false,
        bind: None,
        socket_keepalive: true,
        proxy_protocol: None,
        connect_timeout: Duration::ZERO,
        send_timeout: Duration::from_secs(60),
        read_timeout: Duration::ZERO,
        limit_rate: Template::from_text(b"0"),
        next_upstream: NextUpstream::ERROR.or(NextUpstream::TIMEOUT),
        next_upstream_tries: 0,
        next_upstream_timeout: Duration::ZERO,
        health_check: None,
        priority: None,
    }
}

/// A field for a provider: nothing that frames the call or belongs to its key.
fn field(name: &Word, value: &Word, cx: &mut Cx) -> Option<Field> {
    const OURS: [&str; 7] = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "content-type",
        "accept-encoding",
        "expect",
    ];
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_ours = OURS.iter().any(|ours| name.text.eq_ignore_ascii_case(ours));
    if name.text.is_empty() || !name.text.bytes().all(is_token) || is_ours {
        let problem = Diagnostic::error(
            Code::BAD_FIELD_NAME,
            name.span,
            format!("`{}` cannot be given to a provider", name.text),
        );
        cx.report(problem.hint("name a field of the provider's API, such as `OpenAI-Project`"));
        return None;
    }
    if value.text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        cx.error(
            Code::BAD_FIELD_NAME,
            value.span,
            format!("the value of `{}` holds a control character", name.text),
        );
        return None;
    }
    Some(Field {
        name: name.text.as_bytes().into(),
        value: value.text.as_bytes().into(),
    })
}

fn model(node: &Node, http: &Scope<'_>, providers: &[Arc<Provider>], cx: &mut Cx) -> Option<Model> {
    let name = node.arguments.first()?;
    if name.text.is_empty() || name.text.len() > 128 || name.text.contains(char::is_control) {
        let problem = Diagnostic::error(
            Code::BAD_LLM_MODEL,
            name.span,
            "this cannot be the name of a model",
        );
        cx.report(problem.hint("write what clients ask for, such as `gpt-4o` or `chat`"));
        return None;
    }
    let scope = http.inside(node.block.as_deref()?);
    let lines = scope.own("target").iter();
    let targets: Vec<Target> = lines
        .filter_map(|line| target(line, providers, cx))
        .collect();
    if scope.own("target").is_empty() {
        let problem = Diagnostic::error(
            Code::BAD_LLM_MODEL,
            name.span,
            format!("nothing answers for the model `{}`", name.text),
        );
        cx.report(problem.hint("write `target PROVIDER/MODEL;` inside"));
    }
    if let Some(line) = scope.own("target").first()
        && !targets.is_empty()
        && targets.iter().all(|target| target.is_backup)
    {
        let problem = Diagnostic::warning(
            Code::LLM_WITHOUT_EFFECT,
            line.name.span,
            "all targets of this model are backups",
        );
        cx.report(problem.hint("leave `backup` out where a target is to be asked first"));
    }
    Some(Model {
        name: name.text.clone(),
        targets,
        strategy: strategy(&scope, cx),
        span: name.span,
    })
}

/// Which target is asked first.
fn strategy(scope: &Scope<'_>, cx: &mut Cx) -> Strategy {
    let Some(line) = scope.own("strategy").first() else {
        return Strategy::default();
    };
    let word = |position: usize| line.arguments.get(position).map(|word| &*word.text);
    let strategy = match word(0) {
        Some("ordered") => Strategy::Ordered,
        Some("least_busy") => Strategy::LeastBusy,
        Some("fastest") => Strategy::Fastest,
        Some("affinity") => {
            return Strategy::Affinity(match word(1) {
                Some("key") => Common::Key,
                Some("user") => Common::User,
                _ => Common::Conversation,
            });
        }
        _ => Strategy::Weighted,
    };
    if let Some(second) = line.arguments.get(1) {
        let text = format!("`{}` says nothing to this strategy", second.text);
        let problem = Diagnostic::error(Code::BAD_LLM_TARGET, second.span, text);
        cx.report(problem.hint(format!("write `strategy affinity {};`", second.text)));
    }
    strategy
}

/// `on=429,5xx`
fn causes(text: &str) -> Option<Causes> {
    text.split(',').try_fold(Causes::NONE, |causes, word| {
        let (_, cause) = Causes::WORDS.iter().find(|(known, _)| *known == word)?;
        Some(causes.or(*cause))
    })
}

fn target(line: &Node, providers: &[Arc<Provider>], cx: &mut Cx) -> Option<Target> {
    let word = line.arguments.first()?;
    let wrong = |cx: &mut Cx, text: String, hint: String| {
        let problem = Diagnostic::error(Code::BAD_LLM_MODEL, word.span, text);
        cx.report(problem.hint(hint));
    };
    let Some((provider, model)) = word
        .text
        .split_once('/')
        .filter(|(_, model)| !model.is_empty())
    else {
        let text = format!("`{}` names no model of a provider", word.text);
        wrong(cx, text, "write it as `PROVIDER/MODEL`".to_owned());
        return None;
    };
    let Some(position) = providers.iter().position(|known| *known.name == *provider) else {
        let known: Vec<String> = providers
            .iter()
            .map(|known| format!("`{}`", known.name))
            .collect();
        let hint = match known.is_empty() {
            true => format!("define it: `llm_provider {provider} {{ … }}`"),
            false => format!("there are {}", known.join(", ")),
        };
        wrong(cx, format!("there is no `llm_provider {provider}`"), hint);
        return None;
    };
    let weight = match parameter(line, "weight").map(str::parse) {
        None => 1,
        Some(Ok(weight @ 1..=1000)) => weight,
        Some(_) => {
            wrong(
                cx,
                "this weight is no share".to_owned(),
                "write a number from 1 to 1000".to_owned(),
            );
            return None;
        }
    };
    let mut target = Target {
        provider: position,
        model: model.into(),
        weight,
        is_backup: has_word(line, "backup"),
        on: Causes::USUAL,
        max_context: None,
        condition: None,
        region: None,
    };
    for word in line.arguments.iter().skip(1) {
        let wrong = match word.text.split_once('=') {
            Some(("on", value)) => {
                let causes = causes(value);
                target.on = causes.unwrap_or(Causes::USUAL);
                let text = format!("`{value}` names no cause for which a call fails");
                let hint = "write some of `429`, `5xx`, `timeout`, `circuit`, `context` and `budget`, with commas";
                causes.is_none().then_some((text, hint))
            }
            Some(("max_context", value)) => {
                target.max_context = tokens(value);
                let text = format!("`{value}` is no number of tokens");
                let hint = "write it as `128000` or `128k`";
                target.max_context.is_none().then_some((text, hint))
            }
            Some(("region", value)) => {
                target.region = region(word, value, cx);
                None
            }
            Some(("if", value)) => {
                target.condition = Some(cx.template_of(word, value));
                None
            }
            _ => None,
        };
        if let Some((text, hint)) = wrong {
            let problem = Diagnostic::error(Code::BAD_LLM_TARGET, word.span, text);
            cx.report(problem.hint(hint));
        }
    }
    Some(target)
}

/// `128000`, `128k` or `1m` tokens, which are counted in tens.
fn tokens(text: &str) -> Option<u64> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => match text.strip_suffix(['m', 'M']) {
            Some(digits) => (digits, 1_000_000),
            None => (text, 1),
        },
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(factor).filter(|tokens| *tokens > 0)
}

/// What a place says of who answers, and who asks.
pub fn choosing(scope: &Scope<'_>, cx: &mut Cx) -> Choosing {
    let lines = scope.all("llm_downgrade").iter();
    let mut downgrades: Vec<Downgrade> = lines
        .filter_map(|line| {
            let [share, model] = line.arguments.as_slice() else {
                return None;
            };
            let percent = percent(&share.text)?;
            let model = model.text.clone();
            Some(Downgrade { percent, model })
        })
        .collect();
    downgrades.sort_by_key(|downgrade| std::cmp::Reverse(downgrade.percent));
    let region = scope.nearest("llm_region");
    let region = region.and_then(|line| line.arguments.first());
    Choosing {
        tags: tags(scope, cx),
        routes: routes(scope, cx),
        sticky: sticky(scope),
        region: region.map(|word| cx.template(word)),
        downgrades,
    }
}

/// Every `llm_tag` that holds in a place, each once.
fn tags(scope: &Scope<'_>, cx: &mut Cx) -> Tags {
    let mut tags = Tags::default();
    for line in scope.all("llm_tag") {
        let [which, value] = line.arguments.as_slice() else {
            continue;
        };
        let tag = match &*which.text {
            "gateway" => &mut tags.gateway,
            "user" => &mut tags.user,
            _ => &mut tags.node,
        };
        if tag.replace(cx.template(value)).is_some() {
            let text = format!("`llm_tag {}` stands twice", which.text);
            let problem = Diagnostic::error(Code::DUPLICATE, which.span, text);
            cx.report(problem.hint("leave one of them out"));
        }
    }
    tags
}

/// `80%`
fn percent(text: &str) -> Option<u64> {
    let number = text.strip_suffix('%')?.parse().ok()?;
    (1..=100).contains(&number).then_some(number)
}

/// Every `llm_route` that holds in a place, in order.
fn routes(scope: &Scope<'_>, cx: &mut Cx) -> Vec<Route> {
    let lines = scope.all("llm_route").iter();
    let routes = lines.filter_map(|line| {
        let condition = line.arguments.iter().skip(1).find_map(|word| {
            let value = word.text.strip_prefix("if=")?;
            Some(cx.template_of(word, value))
        });
        Some(Route {
            model: cx.template(line.arguments.first()?),
            condition,
            is_for_each_turn: has_word(line, "always"),
        })
    });
    routes.collect()
}

/// The `llm_sticky` that holds in a place, for the rules that do.
fn sticky(scope: &Scope<'_>) -> Option<Stickiness> {
    let lifetime = scope.time("llm_sticky");
    let mut rules = foldhash::quality::FixedState::default().build_hasher();
    for line in scope.all("llm_route") {
        for word in &line.arguments {
            word.text.hash(&mut rules);
        }
        rules.write_u8(b';');
    }
    (!lifetime.is_zero()).then(|| Stickiness {
        lifetime,
        rules: rules.finish(),
    })
}

/// How old a kept answer may be, and how long is waited for one, where nothing is written.
const USUAL_AGE: Duration = Duration::from_secs(3600);
const USUAL_WAIT: Duration = Duration::from_secs(120);

/// The `llm_cache` that holds in a place.
pub fn cache(scope: &Scope<'_>, for_anybody: bool, cx: &mut Cx) -> Option<Cache> {
    let line = scope.nearest("llm_cache")?;
    let word = line.arguments.first()?;
    let shared = match &*word.text {
        "key" => CacheScope::Key,
        "group" => CacheScope::Group,
        "global" => CacheScope::Global,
        _ => {
            if let Some(stray) = line.arguments.get(1) {
                let problem = Diagnostic::error(
                    Code::BAD_LLM_CACHE,
                    stray.span,
                    format!("nothing is kept, and `{}` is said of it", stray.text),
                );
                cx.report(problem.hint("write `llm_cache off;` alone, or who shares answers"));
            }
            return None;
        }
    };
    if for_anybody && shared != CacheScope::Global {
        let problem = Diagnostic::warning(
            Code::UNUSED_LLM_CACHE,
            word.span,
            "nobody has a key here, so that nothing is kept",
        );
        let hint = "write `llm_cache global;` if everybody may have everybody's answers";
        cx.report(problem.hint(hint));
        return None;
    }
    let mut cache = Cache {
        scope: shared,
        max_age: USUAL_AGE,
        wait: USUAL_WAIT,
    };
    for (name, place) in [("max_age=", &mut cache.max_age), ("wait=", &mut cache.wait)] {
        let mut written = line.arguments[1..].iter();
        let mut written = written.by_ref().filter_map(|word| {
            let text = word.text.strip_prefix(name)?;
            Some((word, text))
        });
        let Some((word, text)) = written.next() else {
            continue;
        };
        if let Some((again, _)) = written.next() {
            let name = name.trim_end_matches('=');
            let message = format!("`{name}` stands twice");
            let problem = Diagnostic::error(Code::BAD_LLM_CACHE, again.span, message);
            cx.report(problem.label(word.span, "first here"));
        }
        match unit::time::seconds(text).filter(|time| *time <= LONGEST_AGE) {
            Some(time) if !time.is_zero() => *place = time,
            _ => {
                let message = format!("`{text}` is no time from 1s to 1y");
                let problem = Diagnostic::error(Code::BAD_LLM_CACHE, word.span, message);
                cx.report(problem.hint("write it as `30s`, `10m`, `12h` or `7d`"));
            }
        }
    }
    Some(cache)
}

/// Nobody means longer.
const LONGEST_AGE: Duration = Duration::from_secs(366 * 24 * 3600);

/// Tells of gateways in a block that nobody stands behind, and of routes to models that are not there.
pub fn warn_of_gateways(block: &[Node], llm: &Llm, cx: &mut Cx) {
    for line in block {
        let first = line.arguments.first();
        let route = match &*line.name.text {
            "llm_route" => first.filter(|word| !word.text.contains('$')),
            "llm_downgrade" => {
                if let Some(share) = first.filter(|word| percent(&word.text).is_none()) {
                    let text = format!("`{}` is no share of a budget", share.text);
                    let problem = Diagnostic::error(Code::BAD_LLM_DOWNGRADE, share.span, text);
                    cx.report(problem.hint("write it as `80%`, from `1%` to `100%`"));
                }
                line.arguments.get(1)
            }
            _ => None,
        };
        if let Some(word) = first.filter(|_| &*line.name.text == "llm_region") {
            warn_of_region(word, llm, cx);
        }
        if let Some(word) = route
            && !is_known(llm, &word.text)
        {
            let problem = Diagnostic::error(
                Code::UNKNOWN_LLM_MODEL,
                word.span,
                format!("there is no model `{}`", word.text),
            );
            let near = llm.models.iter().map(|model| &*model.name);
            let near = near.min_by_key(|name| distance(name, &word.text));
            cx.report(match near {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint(format!("define it: `llm_model {} {{ … }}`", word.text)),
            });
        }
        if &*line.name.text == "llm_gateway" && llm.providers.is_empty() {
            let problem = Diagnostic::warning(
                Code::NO_LLM_PROVIDER,
                line.name.span,
                "no provider stands behind this gateway",
            );
            let hint = "add one: `llm_provider openai { api_key env:OPENAI_API_KEY; }`";
            cx.report(problem.hint(hint));
        }
        warn_of_gateways(line.block.as_deref().unwrap_or_default(), llm, cx);
    }
}

/// Tells of a region in which nobody computes: all calls there fail.
fn warn_of_region(word: &Word, llm: &Llm, cx: &mut Cx) {
    let targets = llm.models.iter().flat_map(|model| &model.targets);
    let named = (llm.providers.iter().map(|provider| &provider.region))
        .chain(targets.map(|target| &target.region));
    let mut known: Vec<&str> = named.flatten().map(|name| &**name).collect();
    known.sort_unstable();
    known.dedup();
    let is_known = |name: &str| known.iter().any(|known| known.eq_ignore_ascii_case(name));
    let text = &word.text;
    if text.is_empty() || text.contains('$') || text.split(',').any(|it| is_known(it.trim())) {
        return;
    }
    let problem = Diagnostic::warning(
        Code::LLM_REGION_WITHOUT_PROVIDER,
        word.span,
        format!("no provider is in the region `{text}`: every call here is refused"),
    );
    cx.report(match known.is_empty() {
        true => problem.hint(format!(
            "say where one is: `region {text};` in `llm_provider`"
        )),
        false => problem.hint(format!("there are {}", known.join(", "))),
    });
}

/// Does somebody answer for this name?
fn is_known(llm: &Llm, name: &str) -> bool {
    let is_model = |model: &Model| model.name.eq_ignore_ascii_case(name);
    let is_of = |provider: &Arc<Provider>| {
        let (known, model) = name.split_once('/').unwrap_or_default();
        provider.name.eq_ignore_ascii_case(known) && !model.is_empty()
    };
    llm.models.iter().any(is_model) || llm.providers.iter().any(is_of)
}
