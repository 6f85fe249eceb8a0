//! Words that say where a secret is.

use std::path::PathBuf;

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::Word;
use crate::conf::typed::secret::SecretSource;

/// Where a secret is; text that is the secret itself gets a warning.
pub fn secret(word: &Word, scope: &Scope<'_>, cx: &mut Cx) -> SecretSource {
    let source = public(word, scope, cx);
    if matches!(source, SecretSource::Literal(_)) {
        cx.report(
            Diagnostic::warning(
                Code::SECRET_IN_TEXT,
                word.span,
                "a secret stands in the configuration",
            )
            .hint("keep it elsewhere and write `env:NAME`, `file:PATH` or `credential:NAME`"),
        );
    }
    source
}

/// As [`secret`] for what belongs to a secret and is none, such as the name of a user.
pub fn public(word: &Word, scope: &Scope<'_>, cx: &mut Cx) -> SecretSource {
    let text = &*word.text;
    let (source, is_fine) = match text.split_once(':') {
        Some(("env", name)) => (SecretSource::Environment(name.into()), is_variable(name)),
        Some(("file", path)) => {
            let source = SecretSource::File(PathBuf::from(scope.path_text(path)));
            (source, !path.is_empty())
        }
        Some(("credential", name)) => (SecretSource::Credential(name.into()), is_file_name(name)),
        _ => (SecretSource::Literal(text.into()), !text.is_empty()),
    };
    if !is_fine {
        let kind = text.split_once(':').map_or("", |(kind, _)| kind);
        cx.report(
            Diagnostic::error(
                Code::BAD_SECRET,
                word.span,
                match kind {
                    "env" => format!("`{text}` names no variable of the environment"),
                    "file" => format!("`{text}` names no file"),
                    "credential" => format!("`{text}` names no credential"),
                    _ => "an empty secret".to_owned(),
                },
            )
            .hint("write `env:NAME`, `file:PATH` or `credential:NAME`"),
        );
    }
    source
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Systemd's rule for the identifier of a credential: a file name.
fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}
