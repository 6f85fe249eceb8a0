-- Keys and calls of the gateway to language models. Times are microseconds since 1970 in UTC, money
-- is pico-dollars.

CREATE TABLE llm_keys (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL,
    team        TEXT    NOT NULL, -- the group whose limits it shares
    owner       TEXT    NOT NULL,
    created     INTEGER NOT NULL,
    state       INTEGER NOT NULL, -- 0 in use, 1 revoked, 2 removed: only its calls name it
    models      TEXT    NOT NULL, -- patterns, one a line; none for all
    addresses   TEXT    NOT NULL, -- networks, one a line; none for all
    gateway     TEXT    NOT NULL, -- the only gateway that may use it; empty for all
    rpm         INTEGER,
    tpm         INTEGER,
    concurrency INTEGER,
    day         INTEGER,          -- budgets
    week        INTEGER,
    month       INTEGER,
    total       INTEGER,
    zone        TEXT    NOT NULL  -- whose calendar the budgets follow
) STRICT;

CREATE UNIQUE INDEX llm_keys_by_name ON llm_keys (name) WHERE state < 2;

CREATE TABLE llm_secrets (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        INTEGER NOT NULL REFERENCES llm_keys ON DELETE CASCADE,
    digest     BLOB    NOT NULL UNIQUE, -- SHA-256 of the secret
    prefix     TEXT    NOT NULL,        -- its first characters, for people
    created    INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    expires    INTEGER,
    revoked    INTEGER
) STRICT;

CREATE INDEX llm_secrets_by_key ON llm_secrets (key);

CREATE TABLE llm_calls (
    id             INTEGER PRIMARY KEY, -- when it began, made unique
    state          INTEGER NOT NULL,    -- 0 open, 1 settled, 2 interrupted
    key            INTEGER NOT NULL,    -- 0 for none
    secret         INTEGER NOT NULL,    -- 0 for none
    gateway        TEXT    NOT NULL,
    user           TEXT    NOT NULL,
    node           TEXT    NOT NULL,
    asked          TEXT    NOT NULL,    -- the model that was asked for
    reserved       INTEGER NOT NULL,
    model          TEXT    NOT NULL DEFAULT '',
    provider       TEXT    NOT NULL DEFAULT '',
    outcome        TEXT    NOT NULL DEFAULT '',
    status         INTEGER NOT NULL DEFAULT 0,
    estimated      INTEGER NOT NULL DEFAULT 0,
    attempts       INTEGER NOT NULL DEFAULT 0,
    input          INTEGER NOT NULL DEFAULT 0,
    cache_read     INTEGER NOT NULL DEFAULT 0,
    cache_write_5m INTEGER NOT NULL DEFAULT 0,
    cache_write_1h INTEGER NOT NULL DEFAULT 0,
    audio_input    INTEGER NOT NULL DEFAULT 0,
    output         INTEGER NOT NULL DEFAULT 0,
    reasoning      INTEGER NOT NULL DEFAULT 0,
    audio_output   INTEGER NOT NULL DEFAULT 0,
    web_searches   INTEGER NOT NULL DEFAULT 0,
    images         INTEGER NOT NULL DEFAULT 0,
    cost           INTEGER,             -- by our prices; NULL if they are not known
    billed         INTEGER,             -- what the provider says
    charged        INTEGER NOT NULL DEFAULT 0, -- what counts
    price          TEXT    NOT NULL DEFAULT '', -- the version of the prices
    first_us       INTEGER,             -- until the first of the answer
    upstream_us    INTEGER NOT NULL DEFAULT 0,
    total_us       INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX llm_calls_open ON llm_calls (id) WHERE state = 0;

-- Sums of the calls that are not open, by the day in UTC that they began on.
CREATE TABLE llm_days (
    day        INTEGER NOT NULL, -- days since 1970
    key        INTEGER NOT NULL,
    gateway    TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    calls      INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    unpriced   INTEGER NOT NULL,
    estimated  INTEGER NOT NULL,
    input      INTEGER NOT NULL, -- tokens, of the cache too
    cache_read INTEGER NOT NULL,
    output     INTEGER NOT NULL, -- tokens, thinking too
    charged    INTEGER NOT NULL,
    PRIMARY KEY (day, key, gateway, user, provider, model)
) STRICT, WITHOUT ROWID;
