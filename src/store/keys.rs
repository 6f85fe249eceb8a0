//! Virtual keys of the gateway to language models, and the digests of their secrets.
//!
//! A secret itself is never here. A key that is removed keeps its row, because calls name it; its
//! secrets go.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::writer::Store;
use super::{Reader, Receipt, StoreError, integer, natural};
use crate::unit::money::Money;

/// A key.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyRow {
    /// Its number; 0 while it has none.
    pub id: u64,
    /// Its name, of which there is one at a time.
    pub name: String,
    /// The group whose limits it shares; empty for none.
    pub group: String,
    /// Whose it is, for people.
    pub owner: String,
    /// When it was made, in microseconds since 1970.
    pub created: u64,
    /// May nobody use it any more?
    pub is_revoked: bool,
    /// Patterns of the models it is for; none for all.
    pub models: Vec<String>,
    /// Networks that may use it; none for all.
    pub addresses: Vec<String>,
    /// The only gateway that may use it; empty for all.
    pub gateway: String,
    /// Calls per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Calls at once.
    pub concurrency: Option<u64>,
    /// Budgets of a day, a week, a month, and for good.
    pub budgets: [Option<Money>; 4],
    /// Whose calendar the budgets follow, by its name in the database of time zones.
    pub zone: String,
}

/// A secret of a key.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SecretRow {
    /// Its number; 0 while it has none.
    pub id: u64,
    /// The key's number.
    pub key: u64,
    /// SHA-256 of it.
    pub digest: [u8; 32],
    /// Its first characters, for people.
    pub prefix: String,
    /// When it was made, in microseconds since 1970; as are the others.
    pub created: u64,
    /// From when it may be used.
    pub not_before: u64,
    /// It is to be revoked when nobody has used it for so long, in microseconds.
    pub idle: Option<u64>,
    /// From when it may not be used any more.
    pub expires: Option<u64>,
    /// When somebody took it back.
    pub revoked: Option<u64>,
}

impl Store {
    /// Keeps a key with its secrets, whose numbers are given here: a new one if the key's number is
    /// 0. Of a known one everything is replaced; a secret that is known stays the one it is. The
    /// receipt has the key's number and comes when it would survive a loss of power; it is
    /// [`StoreError::Taken`] if another key has the name or a secret.
    pub fn put_key(&self, key: KeyRow, secrets: Vec<SecretRow>) -> Receipt<u64> {
        self.command(move |writer| {
            let kept = writer.keep(|transaction| put(transaction, &key, &secrets))?;
            kept.ok_or(StoreError::Taken)
        })
    }

    /// Removes a key with its secrets. Its calls keep its name.
    pub fn remove_key(&self, id: u64) -> Receipt<()> {
        self.command(move |writer| {
            writer.keep(|transaction| {
                transaction
                    .execute("UPDATE llm_keys SET state = 2 WHERE id = ?1", [integer(id)])?;
                transaction.execute("DELETE FROM llm_secrets WHERE key = ?1", [integer(id)])?;
                Ok(())
            })
        })
    }
}

impl Reader {
    /// All keys that were not removed, by name, with their secrets, oldest first.
    pub fn keys(&self) -> Result<Vec<(KeyRow, Vec<SecretRow>)>, StoreError> {
        self.ask(|connection| {
            let keys: Vec<KeyRow> = connection
                .prepare(
                    "SELECT id, name, team, owner, created, state, models, addresses, gateway, rpm,
                        tpm, concurrency, day, week, month, total, zone
                     FROM llm_keys WHERE state < 2 ORDER BY name",
                )?
                .query_map([], key)?
                .collect::<Result<_, _>>()?;
            let mut secrets = connection.prepare(
                "SELECT id, key, digest, prefix, created, not_before, expires, revoked, idle
                 FROM llm_secrets WHERE key = ?1 ORDER BY id",
            )?;
            let mut with_secrets = |key: KeyRow| {
                let secrets = secrets.query_map([integer(key.id)], secret)?;
                Ok((key, secrets.collect::<Result<_, rusqlite::Error>>()?))
            };
            keys.into_iter().map(&mut with_secrets).collect()
        })
    }
}

fn put(
    connection: &Connection,
    key: &KeyRow,
    secrets: &[SecretRow],
) -> Result<Option<u64>, rusqlite::Error> {
    // Asked before anything is written: who meets a constraint has lost the connection.
    let has_name: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM llm_keys WHERE name = ?1 AND state < 2 AND id <> ?2)",
        params![key.name, integer(key.id)],
        |row| row.get(0),
    )?;
    let mut is_taken = has_name;
    for secret in secrets {
        is_taken |= connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM llm_secrets WHERE digest = ?1 AND key <> ?2)",
            params![secret.digest, integer(key.id)],
            |row| row.get::<_, bool>(0),
        )?;
    }
    if is_taken {
        return Ok(None);
    }
    let known: Option<i64> = connection
        .query_row(
            "SELECT id FROM llm_keys WHERE id = ?1 AND state < 2",
            [integer(key.id)],
            |row| row.get(0),
        )
        .optional()?;
    let [day, week, month, total] = key.budgets.map(|budget| budget.map(Money::pico));
    connection.execute(
        "INSERT INTO llm_keys (id, name, team, owner, created, state, models, addresses, gateway,
            rpm, tpm, concurrency, day, week, month, total, zone)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT (id) DO UPDATE SET name = ?2, team = ?3, owner = ?4, state = ?6, models = ?7,
            addresses = ?8, gateway = ?9, rpm = ?10, tpm = ?11, concurrency = ?12, day = ?13,
            week = ?14, month = ?15, total = ?16, zone = ?17",
        params![
            known,
            key.name,
            key.group,
            key.owner,
            integer(key.created),
            key.is_revoked,
            key.models.join("\n"),
            key.addresses.join("\n"),
            key.gateway,
            key.rpm.map(integer),
            key.tpm.map(integer),
            key.concurrency.map(integer),
            day,
            week,
            month,
            total,
            key.zone,
        ],
    )?;
    let id = known.unwrap_or_else(|| connection.last_insert_rowid());
    let mut kept = Vec::new();
    for secret in secrets {
        connection.execute(
            "INSERT INTO llm_secrets (key, digest, prefix, created, not_before, expires, revoked,
                idle)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (digest) DO UPDATE SET prefix = ?3, not_before = ?5, expires = ?6,
                revoked = ?7, idle = ?8",
            params![
                id,
                secret.digest,
                secret.prefix,
                integer(secret.created),
                integer(secret.not_before),
                secret.expires.map(integer),
                secret.revoked.map(integer),
                secret.idle.map(integer),
            ],
        )?;
        kept.push(secret.digest);
    }
    let known: Vec<(i64, [u8; 32])> = connection
        .prepare("SELECT id, digest FROM llm_secrets WHERE key = ?1")?
        .query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (secret, digest) in known {
        if !kept.contains(&digest) {
            connection.execute("DELETE FROM llm_secrets WHERE id = ?1", [secret])?;
        }
    }
    Ok(Some(natural(id)))
}

fn key(row: &Row<'_>) -> Result<KeyRow, rusqlite::Error> {
    let lines = |column: usize| {
        let text: String = row.get(column)?;
        Ok::<_, rusqlite::Error>(text.lines().map(str::to_owned).collect())
    };
    let number = |column: usize| row.get::<_, Option<i64>>(column);
    let count = |column: usize| number(column).map(|count| count.map(natural));
    let money = |column: usize| number(column).map(|pico| pico.map(Money::from_pico));
    Ok(KeyRow {
        id: natural(row.get(0)?),
        name: row.get(1)?,
        group: row.get(2)?,
        owner: row.get(3)?,
        created: natural(row.get(4)?),
        is_revoked: row.get(5)?,
        models: lines(6)?,
        addresses: lines(7)?,
        gateway: row.get(8)?,
        rpm: count(9)?,
        tpm: count(10)?,
        concurrency: count(11)?,
        budgets: [money(12)?, money(13)?, money(14)?, money(15)?],
        zone: row.get(16)?,
    })
}

fn secret(row: &Row<'_>) -> Result<SecretRow, rusqlite::Error> {
    Ok(SecretRow {
        id: natural(row.get(0)?),
        key: natural(row.get(1)?),
        digest: row.get(2)?,
        prefix: row.get(3)?,
        created: natural(row.get(4)?),
        not_before: natural(row.get(5)?),
        expires: row.get::<_, Option<i64>>(6)?.map(natural),
        revoked: row.get::<_, Option<i64>>(7)?.map(natural),
        idle: row.get::<_, Option<i64>>(8)?.map(natural),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::State;

    fn started() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::start(directory.path().join("store.db"));
        let state = store.wait_open(Duration::from_secs(60));
        assert_eq!(state, State::Open);
        (directory, store)
    }

    fn secret(byte: u8) -> SecretRow {
        SecretRow {
            digest: [byte; 32],
            prefix: "oc-abcd".into(),
            created: 5,
            not_before: 6,
            expires: Some(7),
            idle: Some(8),
            ..SecretRow::default()
        }
    }

    #[test]
    fn a_key_comes_back_as_it_was_kept_and_changed() {
        let (_directory, store) = started();
        let mut key = KeyRow {
            name: "laptop".into(),
            group: "family".into(),
            owner: "ann".into(),
            created: 1,
            models: vec!["gpt-*".into(), "claude-*".into()],
            addresses: vec!["10.0.0.0/8".into()],
            gateway: "hub".into(),
            rpm: Some(60),
            budgets: [Some(Money::from_pico(1)), None, Some(Money::MAX), None],
            zone: "Europe/Berlin".into(),
            ..KeyRow::default()
        };
        let put = store
            .put_key(key.clone(), vec![secret(1), secret(2)])
            .wait();
        key.id = put.expect("kept");
        let reader = store.reader().expect("a reader");
        let found = reader.keys().expect("keys");
        assert_eq!(found[0].0, key);
        let first = found[0].1[0].clone();
        let expected = SecretRow {
            id: first.id,
            key: key.id,
            ..secret(1)
        };
        assert_eq!((found.len(), found[0].1.len(), &first), (1, 2, &expected));

        key.name = "desktop".into();
        key.is_revoked = true;
        key.models.clear();
        let changed = SecretRow {
            revoked: Some(9),
            ..secret(1)
        };
        let put = store.put_key(key.clone(), vec![changed, secret(3)]).wait();
        assert_eq!(put, Ok(key.id));
        let found = reader.keys().expect("keys");
        assert_eq!(found[0].0, key);
        let digests: Vec<_> = found[0].1.iter().map(|secret| secret.digest[0]).collect();
        assert_eq!(digests, [1, 3]);
        // A secret that stays is the same one in the ledger.
        assert_eq!(
            (found[0].1[0].id, found[0].1[0].revoked),
            (first.id, Some(9))
        );
    }

    #[test]
    fn a_name_and_a_secret_belong_to_one_key() {
        let (_directory, store) = started();
        let named = |name: &str| KeyRow {
            name: name.into(),
            ..KeyRow::default()
        };
        let first = store.put_key(named("a"), vec![secret(1)]).wait();
        let taken = Err(StoreError::Taken);
        assert_eq!(store.put_key(named("a"), Vec::new()).wait(), taken);
        assert_eq!(store.put_key(named("b"), vec![secret(1)]).wait(), taken);
        assert_eq!(store.state(), State::Open);
        assert_eq!(
            store
                .reader()
                .expect("a reader")
                .keys()
                .expect("keys")
                .len(),
            1
        );

        assert_eq!(store.remove_key(first.expect("kept")).wait(), Ok(()));
        let again = store.put_key(named("a"), vec![secret(1)]).wait();
        assert_ne!(again.expect("free again"), 1);
        assert_eq!(
            store
                .reader()
                .expect("a reader")
                .keys()
                .expect("keys")
                .len(),
            1
        );
    }
}
