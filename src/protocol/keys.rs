//! What is said of the keys of the gateway to language models, and of what they spend. Money is
//! dollars, written as a decimal number without loss: `"0.00125"`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Millis;

/// A secret on its way to the person who asked for it. Is not printed by accident.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText(…)")
    }
}

/// The keys.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyList {
    /// All of them, by name.
    pub keys: Vec<KeyState>,
    /// Those that cannot be used, and why.
    pub unusable: Vec<String>,
}

/// A key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyState {
    /// Its name.
    pub name: String,
    /// The group whose limits it shares; empty for none.
    pub group: String,
    /// Whose it is.
    pub owner: String,
    /// When it was made.
    pub created: Millis,
    /// May nobody use it any more?
    pub revoked: bool,
    /// Patterns of the models it is for; none for all.
    pub models: Vec<String>,
    /// Networks that may use it; none for all.
    pub addresses: Vec<String>,
    /// The only gateway that may use it; empty for all.
    pub gateway: String,
    /// Calls in a minute.
    pub rpm: Option<u64>,
    /// Tokens in a minute.
    pub tpm: Option<u64>,
    /// Calls at once.
    pub concurrency: Option<u64>,
    /// Whose calendar its budgets follow.
    pub zone: String,
    /// What it has spent, of a day, a week, a month and in all.
    pub budgets: Vec<KeyBudget>,
    /// Calls that are under way.
    pub running: u64,
    /// When it was last used; 0 for never.
    pub last_used: Millis,
    /// Its secrets, oldest first.
    pub secrets: Vec<KeySecret>,
}

/// What a key has spent in a time, and may spend.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyBudget {
    /// `day`, `week`, `month` or `total`: of the calendar, not of the last hours.
    pub period: String,
    /// What it may spend; `None` for any amount.
    pub limit: Option<String>,
    /// What it has spent.
    pub spent: String,
    /// What is held for calls under way.
    pub held: String,
}

/// A secret of a key; never the secret itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeySecret {
    /// Its first characters.
    pub prefix: String,
    /// When it was made.
    pub created: Millis,
    /// From when it may be used.
    pub not_before: Millis,
    /// From when it may not be used any more.
    pub expires: Option<Millis>,
    /// When it was taken back.
    pub revoked: Option<Millis>,
    /// It is revoked when nobody has used it for so many seconds.
    pub idle: Option<u64>,
    /// Who uses it, if that was asked for.
    pub uses: Vec<KeyUse>,
}

/// Who uses a secret.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyUse {
    /// The gateway.
    pub gateway: String,
    /// When it first did.
    pub first: Millis,
    /// When it last did.
    pub last: Millis,
    /// How often.
    pub calls: u64,
}

/// What is to be done with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyAction {
    /// Make it.
    #[default]
    Add,
    /// Change its settings.
    Edit,
    /// Give it another secret; those before work a while longer.
    Rotate,
    /// Take it back, or one of its secrets.
    Revoke,
    /// Forget it. Its calls keep its name.
    Remove,
}

/// A key is to be made or changed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyChange {
    /// Which.
    pub name: String,
    /// How.
    pub action: KeyAction,
    /// For [`KeyAction::Add`] and [`KeyAction::Edit`].
    pub settings: KeySettings,
    /// A secret from elsewhere in place of a new one, for [`KeyAction::Add`] and
    /// [`KeyAction::Rotate`].
    pub secret: Option<SecretText>,
    /// Seconds that the secrets before still work, for [`KeyAction::Rotate`].
    pub overlap: u64,
    /// Only the secret that begins so, for [`KeyAction::Revoke`].
    pub prefix: Option<String>,
    /// Only when nobody has used it for so many seconds: the secret of `prefix`, or all but the newest;
    /// for [`KeyAction::Revoke`].
    pub unused: Option<u64>,
}

/// Settings of a key; what is `None` stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeySettings {
    /// Another name.
    pub name: Option<String>,
    /// The group whose limits it shares; empty for none.
    pub group: Option<String>,
    /// Whose it is.
    pub owner: Option<String>,
    /// Patterns of the models it is for; none for all.
    pub models: Option<Vec<String>>,
    /// Networks that may use it; none for all.
    pub addresses: Option<Vec<String>>,
    /// The only gateway that may use it; empty for all.
    pub gateway: Option<String>,
    /// Calls in a minute; 0 for any number.
    pub rpm: Option<u64>,
    /// Tokens in a minute; 0 for any number.
    pub tpm: Option<u64>,
    /// Calls at once; 0 for any number.
    pub concurrency: Option<u64>,
    /// What it may spend.
    pub budgets: Vec<BudgetSetting>,
    /// Whose calendar its budgets follow; for new keys only.
    pub zone: Option<String>,
    /// Seconds until its newest secret expires; 0 for never.
    pub expires: Option<u64>,
}

/// What a key may spend in a time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetSetting {
    /// `day`, `week`, `month` or `total`.
    pub period: String,
    /// How much; `None` for any amount.
    pub limit: Option<String>,
}

/// A key that was made or changed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyChanged {
    /// As it is now; `None` if it is gone.
    pub key: Option<KeyState>,
    /// Its new secret. It is told this once.
    pub secret: Option<SecretText>,
}

/// What was spent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SpendReport {
    /// `key`, `gateway`, `user`, `model`, `provider` or `day`.
    pub by: String,
    /// The first day, in UTC.
    pub from: String,
    /// The last day.
    pub to: String,
    /// What was spent, most first, days in their order.
    pub rows: Vec<SpendRow>,
    /// All together.
    pub total: SpendRow,
}

/// Calls that are over, and what they cost.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SpendRow {
    /// Of what; empty for none.
    pub name: String,
    /// How many.
    pub calls: u64,
    /// How many did not end well.
    pub failed: u64,
    /// How many have no known price: they are not in the sum.
    pub unpriced: u64,
    /// How many are estimated.
    pub estimated: u64,
    /// Tokens that went in, those of a cache too.
    pub input: u64,
    /// Of these, what was read from a cache.
    pub cache_read: u64,
    /// Tokens that came out, thinking too.
    pub output: u64,
    /// What they cost.
    pub cost: String,
    /// What kept answers have saved, in dollars.
    pub saved: String,
}
