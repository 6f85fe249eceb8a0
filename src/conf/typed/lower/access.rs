//! Who may pass: what a place asks of a client besides its address.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::access::{Basic, Guard, Throttle};
use crate::conf::typed::listen::{Address, Listen};
use crate::unit;

/// What a place asks; `None` if it asks nothing.
pub fn guard(scope: &Scope<'_>, cx: &mut Cx) -> Option<Arc<Guard>> {
    let basic = basic(scope, cx);
    if basic.is_none() && !scope.own("auth_throttle").is_empty() {
        // It counts further in; what is wrong with it is told here.
        throttle(scope, cx);
    }
    basic.is_some().then(|| {
        Arc::new(Guard {
            satisfy_any: scope.text("satisfy") == "any",
            delay: scope.time("auth_delay"),
            basic,
        })
    })
}

fn basic(scope: &Scope<'_>, cx: &mut Cx) -> Option<Basic> {
    let line = scope.nearest("auth_basic")?;
    let realm = line.arguments.first()?;
    if &*realm.text == "off" {
        return None;
    }
    let file = scope.nearest("auth_basic_user_file");
    let file = file.and_then(|line| line.arguments.first());
    if file.is_none() {
        cx.report(
            Diagnostic::warning(
                Code::NO_PASSWORD_FILE,
                line.name.span,
                "nobody gets in: there is no `auth_basic_user_file`",
            )
            .hint("name a file that `openclaw passwd` makes, here or on a level around"),
        );
    }
    Some(Basic {
        realm: cx.template(realm),
        file: file.map(|word| {
            let text = match word.text.starts_with(['/', '$']) {
                true => word.text.to_string(),
                false => scope
                    .path_beside_conf(&word.text)
                    .to_string_lossy()
                    .into_owned(),
            };
            look_at(word, &text, cx);
            cx.template_of(word, &text)
        }),
        throttle: throttle(scope, cx),
    })
}

/// Tells of a file that lets nobody in, or not all who stand in it. It may be another one when it is
/// used.
fn look_at(word: &Word, path: &str, cx: &mut Cx) {
    /// As much of a file is looked at.
    const MOST: u64 = 4 << 20;
    if path.contains('$') {
        return;
    }
    let mut text = Vec::new();
    let read = fs::metadata(path).and_then(|metadata| match metadata.is_file() {
        true => fs::File::open(path)?.take(MOST).read_to_end(&mut text),
        false => Err(std::io::Error::other("not a regular file")),
    });
    if let Err(error) = read {
        let problem = Diagnostic::warning(
            Code::PASSWORD_FILE_UNREADABLE,
            word.span,
            format!("`{}` cannot be read, so nobody gets in: {error}", word.text),
        );
        cx.report(problem.hint(format!("`openclaw passwd {} NAME` makes it", word.text)));
        return;
    }
    let is_des = |byte: &u8| byte.is_ascii_alphanumeric() || b"./".contains(byte);
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let mut parts = line.trim_ascii_end().split(|&byte| byte == b':');
        let (user, kept) = (parts.next().unwrap_or_default(), parts.next());
        let is_old = kept.is_some_and(|kept| kept.len() == 13 && kept.iter().all(is_des));
        if is_old && !user.starts_with(b"#") {
            let problem = Diagnostic::warning(
                Code::PASSWORD_FORM,
                word.span,
                format!(
                    "line {} of `{}`: the password of `{}` is kept in the form of DES, which is refused",
                    number + 1,
                    word.text,
                    user.escape_ascii()
                ),
            );
            cx.report(problem.hint(format!(
                "DES looks at eight characters only; set it anew: `openclaw passwd {} {}`",
                word.text,
                user.escape_ascii()
            )));
        }
    }
}

fn throttle(scope: &Scope<'_>, cx: &mut Cx) -> Option<Throttle> {
    const DEFAULT: Throttle = Throttle {
        count: 20,
        period: std::time::Duration::from_secs(600),
    };
    let Some(line) = scope.nearest("auth_throttle") else {
        return Some(DEFAULT);
    };
    let (count, period) = match line.arguments.as_slice() {
        [word] if &*word.text == "off" => return None,
        [count, period] => (count, period),
        _ => {
            let problem = Diagnostic::error(
                Code::BAD_THROTTLE,
                line.name.span,
                "`auth_throttle` takes a count and a time, or `off`",
            );
            cx.report(problem.hint("write `auth_throttle 20 10m;`"));
            return Some(DEFAULT);
        }
    };
    let number = count
        .text
        .parse()
        .ok()
        .filter(|count| (1..=1_000_000).contains(count));
    let time = unit::time::milliseconds(&period.text).filter(|time| time.as_secs() >= 1);
    for (word, is_fine, what) in [
        (count, number.is_some(), "a count from 1 to 1000000"),
        (period, time.is_some(), "a time of at least one second"),
    ] {
        if !is_fine {
            let problem = Diagnostic::error(
                Code::BAD_THROTTLE,
                word.span,
                format!("`{}` is not {what}", word.text),
            );
            cx.report(problem.hint("write `auth_throttle 20 10m;` or `auth_throttle off;`"));
        }
    }
    Some(Throttle {
        count: number.unwrap_or(DEFAULT.count),
        period: time.unwrap_or(DEFAULT.period),
    })
}

/// Tells of a server that asks for passwords where everybody on the way reads them.
pub fn lint_clear_text(
    node: &Node,
    scope: &Scope<'_>,
    position: usize,
    listens: &[Listen],
    cx: &mut Cx,
) {
    let block = node.block.as_deref().unwrap_or_default();
    let inner = scope.inside(block);
    let is_open = |listen: &&Listen| {
        let is_here = match &listen.address {
            Address::Ip(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        };
        listen.servers.contains(&position) && !listen.options.ssl && !is_here
    };
    let Some(open) = listens.iter().find(is_open) else {
        return;
    };
    // One that sends everybody elsewhere asks for nothing; one behind a proxy is asked over it.
    let is_behind = !inner.all("set_real_ip_from").is_empty();
    if is_behind || !inner.own("return").is_empty() {
        return;
    }
    if let Some(line) = asks(block).or_else(|| scope.nearest("auth_basic").filter(is_on)) {
        cx.report(
            Diagnostic::warning(
                Code::PASSWORDS_IN_CLEAR,
                line.name.span,
                format!("passwords are sent in clear text to `{}`", open.address),
            )
            .hint("listen with `ssl`, and send clients of this port there with `return 301`"),
        );
    }
}

fn is_on(line: &&Node) -> bool {
    line.arguments
        .first()
        .is_some_and(|word| &*word.text != "off")
}

/// The first line in these blocks that asks for a password.
fn asks(nodes: &[Node]) -> Option<&Node> {
    nodes.iter().find_map(|node| match &*node.name.text {
        "auth_basic" => Some(node).filter(is_on),
        _ => asks(node.block.as_deref().unwrap_or_default()),
    })
}
