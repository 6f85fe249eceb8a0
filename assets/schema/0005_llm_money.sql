-- What was saved by answers that were kept, secrets that end when nobody uses them, and alerts with
-- those who have to be told. Times are microseconds since 1970 in UTC, money is pico-dollars.

-- What the provider would have charged for an answer that came from the cache.
ALTER TABLE llm_calls ADD COLUMN saved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE llm_days ADD COLUMN saved INTEGER NOT NULL DEFAULT 0;

-- The secret is revoked when nobody has used it for so long.
ALTER TABLE llm_secrets ADD COLUMN idle INTEGER;

CREATE TABLE alerts (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    message TEXT    NOT NULL UNIQUE, -- what receivers know it by, however often it is sent
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,        -- budget.threshold, provider.down, …
    subject TEXT    NOT NULL,        -- the key, the provider, … it is about
    level   INTEGER NOT NULL,        -- 0 info, 1 good, 2 warn, 3 bad
    text    TEXT    NOT NULL         -- a sentence for people
) STRICT;

CREATE INDEX alerts_by_cause ON alerts (kind, subject, id);

-- One for each alert and each who has to be told.
CREATE TABLE alert_sends (
    alert    INTEGER NOT NULL REFERENCES alerts ON DELETE CASCADE,
    target   TEXT    NOT NULL,
    state    INTEGER NOT NULL, -- 0 waiting, 1 sent, 2 parked: given up
    attempts INTEGER NOT NULL DEFAULT 0,
    next     INTEGER NOT NULL, -- when to try again
    error    TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (alert, target)
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_sends_waiting ON alert_sends (next) WHERE state = 0;
