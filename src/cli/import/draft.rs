//! What becomes of another gateway's configuration: a text, secrets, keys, and what is left over.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use zeroize::Zeroizing;

use crate::conf::lexer;
use crate::unit::money::Money;

/// Stands for the directory of the keys until it is known where that is.
pub const KEYS: &str = "@keys@";

/// All that was made of it.
#[derive(Default)]
pub struct Draft {
    /// `openclaw.conf`
    pub conf: String,
    /// Keys of providers: names of files and what stands in them.
    pub keys: Vec<(String, Zeroizing<String>)>,
    /// Keys of clients.
    pub tokens: Vec<Token>,
    /// What has no place here, for people.
    pub notes: Vec<String>,
}

/// The key of a client.
pub struct Token {
    /// Its name here.
    pub name: String,
    /// Its group; empty for none.
    pub group: String,
    /// Whose it is.
    pub owner: String,
    /// The secret as its client sends it.
    pub secret: Zeroizing<String>,
    /// The models it is for; none for all.
    pub models: Vec<String>,
    /// The networks it is for; none for all.
    pub addresses: Vec<String>,
    /// What it may still spend; `None` for anything.
    pub left: Option<Money>,
    /// In how many seconds it ends; `None` for never.
    pub expires_in: Option<u64>,
    /// May nobody use it?
    pub is_revoked: bool,
}

impl Draft {
    /// Begins the configuration with where it comes from.
    pub fn begin(&mut self, from: &str) {
        let _ = write!(
            self.conf,
            "# Made by `openclaw import {from}`.\nevents {{ }}\nhttp {{\n"
        );
    }

    /// A line within `http {}`, so many levels further in: a name and its words, spelled so that each
    /// is one.
    pub fn line(&mut self, level: usize, name: &str, words: &[&str]) {
        self.open(level, name, words);
        self.conf.pop();
        self.conf.pop();
        self.conf.pop();
        self.conf.push_str(";\n");
    }

    /// The same for a block, which [`Self::close`] ends.
    pub fn open(&mut self, level: usize, name: &str, words: &[&str]) {
        self.conf.push_str(&"    ".repeat(level + 1));
        self.conf.push_str(name);
        for word in words {
            self.conf.push(' ');
            self.conf.push_str(&lexer::escape(word));
        }
        self.conf.push_str(" {\n");
    }

    /// Ends a block.
    pub fn close(&mut self, level: usize) {
        self.conf.push_str(&"    ".repeat(level + 1));
        self.conf.push_str("}\n");
    }

    /// Ends the configuration.
    pub fn end(&mut self) {
        self.conf.push_str("}\n");
    }

    /// Keeps the key of a provider in a file; returns the word for it.
    pub fn keep_key(&mut self, name: &str, secret: &str) -> String {
        let file = format!("{name}.key");
        self.keys
            .push((file.clone(), Zeroizing::new(secret.trim().to_owned())));
        format!("file:{KEYS}/{file}")
    }

    /// Notes what has no place here.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// Names that are each there once.
#[derive(Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// A name of letters, digits and `.-_`, made of another one; of `number` if that is taken or has
    /// none of these.
    pub fn take(&mut self, wanted: &str, kind: &str, number: u64) -> String {
        let fit = |letter: char| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => letter,
            _ => '-',
        };
        let plain: String = wanted.trim().chars().take(60).map(fit).collect();
        let mut name = plain.trim_matches(['-', '.']).to_owned();
        if name.is_empty() {
            name = format!("{kind}-{number}");
        }
        if !self.0.insert(name.to_ascii_lowercase()) {
            name = format!("{name}-{number}");
            self.0.insert(name.to_ascii_lowercase());
        }
        name
    }
}
