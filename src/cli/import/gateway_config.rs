//! The `config.yaml` of a local gateway that shares a hub with others.
//!
//! Of YAML what such files use is read: names and values, blocks by indentation, lists, comments and
//! quotes. A copy that has lost its indentation, as pages on the web do to it, is read by what the
//! names mean.

use super::draft::Draft;

/// What a block may hold: its own names, then blocks.
struct Block {
    name: &'static str,
    values: &'static [&'static str],
    blocks: &'static [&'static Block],
    /// Names of any kind: of values that look like a field, or of blocks.
    others: Others,
}

#[derive(PartialEq)]
enum Others {
    None,
    Fields,
    Agents,
}

static ROOT: Block = Block {
    name: "",
    values: &[],
    blocks: &[&GATEWAY, &LLM, &AGENTS, &LOGGING],
    others: Others::None,
};
static GATEWAY: Block = Block {
    name: "gateway",
    values: &["name", "nodeId"],
    blocks: &[],
    others: Others::None,
};
static LLM: Block = Block {
    name: "llm",
    values: &["provider", "model"],
    blocks: &[&OPENAPI],
    others: Others::None,
};
static OPENAPI: Block = Block {
    name: "openapi",
    values: &[
        "baseUrl",
        "apiKey",
        "model",
        "timeout",
        "keepAlive",
        "maxConnections",
        "retryAttempts",
        "retryDelayMs",
        "stream",
        "temperature",
        "maxTokens",
        "fallbackModels",
    ],
    blocks: &[&HEADERS],
    others: Others::None,
};
static HEADERS: Block = Block {
    name: "headers",
    values: &[],
    blocks: &[],
    others: Others::Fields,
};
static AGENTS: Block = Block {
    name: "agents",
    values: &[],
    blocks: &[],
    others: Others::Agents,
};
static AGENT: Block = Block {
    name: "agent",
    values: &["model"],
    blocks: &[&LLM],
    others: Others::None,
};
static LOGGING: Block = Block {
    name: "logging",
    values: &["level", "file"],
    blocks: &[],
    others: Others::None,
};

/// A value with the names of the blocks around it.
struct Line {
    path: Vec<String>,
    value: String,
    number: usize,
}

/// Makes a configuration of it.
pub fn of_file(text: &str) -> Result<Draft, String> {
    let mut draft = Draft::default();
    let lines = lines(text, &mut draft)?;
    let mut hub = Hub::default();
    for line in lines {
        let path: Vec<&str> = line.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["gateway", "name"] => hub.gateway = line.value,
            ["gateway", "nodeId"] => hub.node = line.value,
            ["llm", "provider"] if line.value == "openapi" => {}
            ["llm", "openapi", name] => hub.set(name, line.value, &mut draft),
            ["llm", "openapi", "headers", name] => {
                hub.headers.push(((*name).to_owned(), line.value));
            }
            ["agents", agent, "model"] | ["agents", agent, "llm", "model"] => {
                hub.agents.push(((*agent).to_owned(), line.value));
            }
            ["logging", "level"] => hub.level = line.value,
            ["logging", "file"] => hub.log = line.value,
            _ => draft.note(format!(
                "line {}: `{}` has no place here",
                line.number,
                line.path.join(".")
            )),
        }
    }
    hub.write(&mut draft)?;
    Ok(draft)
}

#[derive(Default)]
struct Hub {
    gateway: String,
    node: String,
    base_url: String,
    key: String,
    model: String,
    fallbacks: Vec<String>,
    timeout: Option<u64>,
    connections: Option<u64>,
    retries: Option<u64>,
    headers: Vec<(String, String)>,
    agents: Vec<(String, String)>,
    level: String,
    log: String,
}

impl Hub {
    fn set(&mut self, name: &str, value: String, draft: &mut Draft) {
        let number = |draft: &mut Draft| {
            let number = crate::unit::decimal(&value);
            if number.is_none() {
                draft.note(format!("`{name}: {value}` is not a number"));
            }
            number
        };
        match name {
            "baseUrl" => self.base_url = value,
            "apiKey" => self.key = value,
            "model" => self.model = value,
            "fallbackModels" => self.fallbacks.push(value),
            "timeout" => self.timeout = number(draft),
            "maxConnections" => self.connections = number(draft),
            "retryAttempts" => self.retries = number(draft),
            "retryDelayMs" => draft.note(format!(
                "`retryDelayMs: {value}`: pauses grow by themselves and heed what the hub says"
            )),
            // Connections are kept in any case.
            "keepAlive" if value == "true" => {}
            "keepAlive" => draft.note("`keepAlive: false`: connections to the hub are kept"),
            _ => draft.note(format!(
                "`{name}: {value}` is set by clients in their calls"
            )),
        }
    }

    fn write(mut self, draft: &mut Draft) -> Result<(), String> {
        if self.base_url.is_empty() {
            return Err("no `llm.openapi.baseUrl` says where the hub is".to_owned());
        }
        let has = |headers: &[(String, String)], wanted: &str| {
            (headers.iter()).any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        for (name, value) in [("X-Gateway-Id", &self.gateway), ("X-Node-Id", &self.node)] {
            if !value.is_empty() && !has(&self.headers, name) {
                self.headers.push((name.to_owned(), value.clone()));
            }
        }
        draft.begin("gateway-config");
        if !self.log.is_empty() || !self.level.is_empty() {
            let level = match &*self.level {
                "debug" | "info" | "warn" | "error" => &*self.level,
                "warning" => "warn",
                _ => "info",
            };
            // The directory of the file may not be there, or not for us to write to.
            draft.line(0, "error_log", &["stderr", level]);
            if !self.log.is_empty() {
                draft.note(format!(
                    "`logging.file: {}`: make its directory and write `error_log {} {level};`",
                    self.log, self.log
                ));
            }
        }
        draft.open(0, "llm_provider", &["hub"]);
        draft.line(1, "base_url", &[self.base_url.trim_end_matches('/')]);
        match reference(&self.key) {
            Some(name) => draft.line(1, "api_key", &[&format!("env:{name}")]),
            None if self.key.is_empty() => draft.note("no `apiKey`: the hub is asked without one"),
            None => {
                let word = draft.keep_key("hub", &self.key);
                draft.line(1, "api_key", &[&word]);
            }
        }
        for (name, value) in &self.headers {
            draft.line(1, "header", &[name, value]);
        }
        if let Some(timeout) = self.timeout {
            draft.line(1, "first_token_timeout", &[&format!("{timeout}ms")]);
        }
        if let Some(connections) = self.connections {
            let connections = connections.min(65_535).to_string();
            draft.line(1, "max_connections", &[&connections]);
        }
        if let Some(retries) = self.retries {
            draft.line(1, "retries", &[&retries.min(10).to_string()]);
        }
        draft.close(0);
        let mut known: Vec<&str> = Vec::new();
        let mut models: Vec<(&str, Vec<&str>)> = Vec::new();
        if !self.model.is_empty() {
            let others = self.fallbacks.iter().map(String::as_str);
            models.push((&self.model, others.collect()));
        }
        let others = self
            .fallbacks
            .iter()
            .chain(self.agents.iter().map(|(_, model)| model));
        models.extend(others.map(|model| (&**model, Vec::new())));
        for (model, backups) in models {
            if known.contains(&model) {
                continue;
            }
            known.push(model);
            draft.open(0, "llm_model", &[model]);
            draft.line(1, "target", &[&format!("hub/{model}")]);
            for backup in backups {
                draft.line(1, "target", &[&format!("hub/{backup}"), "backup"]);
            }
            draft.close(0);
        }
        for (agent, model) in &self.agents {
            draft.open(0, "llm_model", &[&format!("agent/{agent}")]);
            draft.line(1, "target", &[&format!("hub/{model}")]);
            draft.close(0);
        }
        draft.open(0, "server", &[]);
        // Programs of this machine are asked for no key.
        draft.line(1, "listen", &["127.0.0.1:8787"]);
        draft.open(1, "location", &["/"]);
        draft.line(2, "llm_gateway", &["anybody"]);
        draft.close(1);
        draft.close(0);
        draft.end();
        Ok(())
    }
}

/// `${NAME}`
fn reference(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!name.is_empty() && name.bytes().all(is_fit)).then_some(name)
}

/// A block that is open while lines are read.
struct Open {
    block: &'static Block,
    name: String,
    indent: usize,
}

/// Every value with its place.
fn lines(text: &str, draft: &mut Draft) -> Result<Vec<Line>, String> {
    let is_indented = text.lines().any(|line| {
        line.starts_with([' ', '\t'])
            && !line.trim_start().is_empty()
            && !line.trim_start().starts_with(['#', '-'])
    });
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    // The value that lines with a dash belong to.
    let mut list: Option<Vec<String>> = None;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let content = without_comment(line);
        if content.trim().is_empty() || matches!(content.trim(), "---" | "...") {
            continue;
        }
        if content.trim_start_matches(' ').starts_with('\t') {
            return Err(format!("line {number}: tabs do not indent in YAML"));
        }
        let indent = content.len() - content.trim_start().len();
        let content = content.trim();
        if let Some(item) = content.strip_prefix('-') {
            match &list {
                Some(path) => found.push(Line {
                    path: path.clone(),
                    value: unquoted(item),
                    number,
                }),
                None => draft.note(format!("line {number}: a list stands where none is known")),
            }
            continue;
        }
        let Some((name, value)) = content.split_once(':') else {
            draft.note(format!(
                "line {number}: `{content}` is neither a name nor a value"
            ));
            continue;
        };
        let (name, value) = (unquoted(name), value.trim());
        list = None;
        if is_indented {
            open.retain(|block| block.indent < indent);
        }
        let place = place(&open, &name, value.is_empty(), is_indented);
        match place {
            Some((depth, Some(block))) => {
                open.truncate(depth);
                open.push(Open {
                    block,
                    name,
                    indent,
                });
            }
            Some((depth, None)) => {
                open.truncate(depth);
                let mut path: Vec<String> = open.iter().map(|block| block.name.clone()).collect();
                path.push(name);
                let items = value
                    .strip_prefix('[')
                    .and_then(|rest| rest.strip_suffix(']'));
                match (items, value.is_empty()) {
                    (Some(items), _) => found.extend(items.split(',').map(|item| Line {
                        path: path.clone(),
                        value: unquoted(item),
                        number,
                    })),
                    (None, true) => list = Some(path),
                    (None, false) => found.push(Line {
                        path,
                        value: unquoted(value),
                        number,
                    }),
                }
            }
            None => {
                let mut path: Vec<&str> = open.iter().map(|block| &*block.name).collect();
                path.push(&name);
                draft.note(format!(
                    "line {number}: `{}` has no place here",
                    path.join(".")
                ));
            }
        }
    }
    Ok(found)
}

/// In which of the open blocks a name stands, and the block that it opens itself. Without indentation
/// the innermost that knows the name has it, and names of any kind come last.
fn place(
    open: &[Open],
    name: &str,
    is_empty: bool,
    is_indented: bool,
) -> Option<(usize, Option<&'static Block>)> {
    let depths: Vec<usize> = match is_indented {
        true => vec![open.len()],
        false => (0..=open.len()).rev().collect(),
    };
    let block_at = |depth: usize| match depth {
        0 => &ROOT,
        depth => open[depth - 1].block,
    };
    for &depth in &depths {
        let block = block_at(depth);
        if let Some(inner) = block.blocks.iter().find(|inner| inner.name == name) {
            return Some((depth, Some(inner)));
        }
        if block.values.contains(&name) {
            return Some((depth, None));
        }
        // What looks like a field is one, where fields may stand.
        if block.others == Others::Fields && (is_indented || name.contains('-')) && !is_empty {
            return Some((depth, None));
        }
    }
    let agents = depths
        .into_iter()
        .find(|&depth| block_at(depth).others == Others::Agents);
    agents
        .filter(|_| is_empty)
        .map(|depth| (depth, Some(&AGENT)))
}

/// A line without its comment: a `#` at its start or behind a blank, outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (position, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '#') if before.is_whitespace() => return &line[..position],
            _ => {}
        }
        before = letter;
    }
    line
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    for quote in ['"', '\''] {
        let inner = text
            .strip_prefix(quote)
            .and_then(|text| text.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.to_owned();
        }
    }
    text.to_owned()
}
