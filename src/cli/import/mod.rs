//! `openclaw import`: the configuration of another gateway, made into one of ours.
//!
//! What is made stands in a directory of its own: `openclaw.conf`, and the keys of providers in files
//! that nobody else may read. Whatever has no place here is named, never left out in silence.

mod draft;
mod gateway_config;
mod one_api;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use self::draft::{Draft, KEYS, Token};
use super::session::{Failure, Session};
use super::words::ImportWord;
use super::{complain, print};
use crate::conf::lexer;
use crate::protocol::client::CallError;
use crate::protocol::{
    BudgetSetting, KeyAction, KeyChange, KeyChanged, KeySettings, RefusalCode, SecretText,
};
use crate::unit::printable::escape_lines;

/// The largest file that is read, bytes.
const LARGEST: u64 = 16 << 20;

/// Does what the word says.
pub fn run(word: &ImportWord) -> Result<(), Failure> {
    let (draft, into, daemon) = match word {
        ImportWord::OneApi {
            file,
            db,
            into,
            daemon,
            ..
        } => {
            let draft = match (file, db) {
                (Some(file), _) => one_api::of_file(&text(file)?),
                (None, Some(db)) => one_api::of_database(db),
                (None, None) => return Err(Failure::failed("neither a file nor `--db` is named")),
            };
            (draft, into, daemon)
        }
        ImportWord::GatewayConfig { file, into, daemon } => {
            (gateway_config::of_file(&text(file)?), into, daemon)
        }
    };
    let draft = draft.map_err(Failure::failed)?;
    if matches!(word, ImportWord::OneApi { tokens: true, .. }) {
        return bring(&draft.tokens, &Session::open(daemon)?);
    }
    let directory = std::path::absolute(into).map_err(|error| failed(into, &error))?;
    let path = write(&draft, &directory)?;
    print(&format!(
        "made {}\n",
        escape_lines(&path.display().to_string())
    ));
    for note in &draft.notes {
        complain(&format!("left to you: {}", escape_lines(note)));
    }
    if draft.tokens.is_empty() {
        return Ok(());
    }
    match Session::open(daemon) {
        Ok(session) => bring(&draft.tokens, &session),
        Err(Failure::NoDaemon(_)) => {
            complain(&format!(
                "{} keys wait for a daemon: start it with this configuration, then run the same \
                 again with `--tokens`",
                draft.tokens.len()
            ));
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("`{}`: {error}", path.display()))
}

/// A file that is text, and not endless.
fn text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let file = fs::File::open(path).map_err(|error| failed(path, &error))?;
    let read = file.take(LARGEST + 1).read_to_string(&mut text);
    read.map_err(|error| failed(path, &error))?;
    if text.len() as u64 > LARGEST {
        let path = path.display();
        return Err(Failure::failed(format!("`{path}` is larger than 16 MiB")));
    }
    Ok(text)
}

/// Writes what was made; nothing that is there is written over.
fn write(draft: &Draft, directory: &Path) -> Result<PathBuf, Failure> {
    let private = |path: &Path| {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| failed(path, &error))
    };
    let file = |path: &Path, text: &str| {
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let written = opened.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| failed(path, &error))
    };
    private(directory)?;
    let path = directory.join("openclaw.conf");
    if path.exists() {
        return Err(Failure::failed(format!(
            "`{}` is there already; hint: name another directory with `--into`",
            path.display()
        )));
    }
    let keys = directory.join("keys");
    if !draft.keys.is_empty() {
        private(&keys)?;
    }
    let place = keys.to_string_lossy();
    if lexer::escape(&place) != *place {
        return Err(Failure::failed(format!(
            "`{place}` cannot stand in a configuration as it is; hint: name another directory \
             with `--into`"
        )));
    }
    for (name, secret) in &draft.keys {
        let line = Zeroizing::new(format!("{}\n", &**secret));
        file(&keys.join(name), &line)?;
    }
    file(&path, &draft.conf.replace(KEYS, &place))?;
    Ok(path)
}

/// Adds keys to a running daemon.
fn bring(tokens: &[Token], session: &Session) -> Result<(), Failure> {
    let (mut brought, mut known) = (0, 0);
    for token in tokens {
        let change = KeyChange {
            name: token.name.clone(),
            action: KeyAction::Add,
            settings: KeySettings {
                group: Some(token.group.clone()),
                owner: Some(token.owner.clone()),
                models: Some(token.models.clone()),
                addresses: Some(token.addresses.clone()),
                budgets: token
                    .left
                    .iter()
                    .map(|left| BudgetSetting {
                        period: "total".to_owned(),
                        limit: Some(left.to_string()),
                    })
                    .collect(),
                expires: token.expires_in,
                ..KeySettings::default()
            },
            secret: Some(SecretText(token.secret.to_string())),
            ..KeyChange::default()
        };
        match session.post::<KeyChanged>("/v1/keys", &change) {
            Ok(_) => brought += 1,
            Err(Failure::Call(CallError::Refused(refusal)))
                if refusal.code == RefusalCode::Conflict =>
            {
                known += 1;
                continue;
            }
            Err(failure) => return Err(failure),
        }
        if token.is_revoked {
            let change = KeyChange {
                name: token.name.clone(),
                action: KeyAction::Revoke,
                ..KeyChange::default()
            };
            session.post::<KeyChanged>("/v1/keys", &change)?;
        }
    }
    let known = match known {
        0 => String::new(),
        known => format!(", {known} were there already"),
    };
    print(&format!("brought {brought} keys{known}\n"));
    Ok(())
}
