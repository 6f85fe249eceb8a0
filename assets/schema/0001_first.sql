-- The first form of the store. Times are milliseconds since 1970 in UTC, unless a comment says
-- otherwise. A migration that was in a release is never edited; a change is a new file.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Texts of configuration files, each once however many revisions have it.
CREATE TABLE texts (
    id     INTEGER PRIMARY KEY,
    digest BLOB    NOT NULL UNIQUE, -- SHA-256 of the text
    bytes  INTEGER NOT NULL,
    text   TEXT    NOT NULL
) STRICT;

CREATE TABLE revisions (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    author   TEXT    NOT NULL,
    client   TEXT    NOT NULL,
    note     TEXT    NOT NULL,
    outcome  INTEGER NOT NULL, -- 0 applied, 1 refused
    reason   TEXT,
    parent   INTEGER NOT NULL, -- 0 for none
    reverts  INTEGER,
    added    INTEGER NOT NULL, -- lines
    removed  INTEGER NOT NULL, -- lines
    digest   TEXT    NOT NULL,
    conf     TEXT    NOT NULL  -- the path of the main file
) STRICT;

CREATE INDEX revisions_by_outcome ON revisions (outcome, conf, id);

CREATE TABLE revision_files (
    revision INTEGER NOT NULL REFERENCES revisions ON DELETE CASCADE,
    position INTEGER NOT NULL,
    path     TEXT    NOT NULL,
    text     INTEGER NOT NULL REFERENCES texts,
    PRIMARY KEY (revision, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX revision_files_by_text ON revision_files (text);

-- What traffic rows are about: 0 total, 1 route (server, listen, location), 2 peer (upstream,
-- address).
CREATE TABLE names (
    id     INTEGER PRIMARY KEY,
    kind   INTEGER NOT NULL,
    first  TEXT    NOT NULL,
    second TEXT    NOT NULL,
    third  TEXT    NOT NULL,
    UNIQUE (kind, first, second, third)
) STRICT;

-- Each request is counted in one row only: young ones per minute, older ones per hour, then day.
CREATE TABLE traffic (
    step        INTEGER NOT NULL, -- 0 minute, 1 hour, 2 day
    start       INTEGER NOT NULL, -- seconds since 1970, a multiple of the step
    name        INTEGER NOT NULL REFERENCES names,
    requests    INTEGER NOT NULL,
    s1          INTEGER NOT NULL, -- answers by the hundreds of their status
    s2          INTEGER NOT NULL,
    s3          INTEGER NOT NULL,
    s4          INTEGER NOT NULL,
    s5          INTEGER NOT NULL,
    received    INTEGER NOT NULL, -- bytes
    sent        INTEGER NOT NULL, -- bytes
    time_sum_us INTEGER NOT NULL,
    p50_us      INTEGER NOT NULL,
    p99_us      INTEGER NOT NULL,
    max_us      INTEGER NOT NULL,
    PRIMARY KEY (step, start, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX traffic_by_name ON traffic (name, start);

CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    level   INTEGER NOT NULL, -- 0 info, 1 good, 2 warn, 3 bad
    kind    TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    text    TEXT    NOT NULL
) STRICT;

CREATE TABLE audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    user   TEXT    NOT NULL,
    uid    INTEGER NOT NULL,
    pid    INTEGER NOT NULL,
    client TEXT    NOT NULL,
    action TEXT    NOT NULL,
    detail TEXT    NOT NULL
) STRICT;
