-- What a person asks of one call: what was wanted, by which rule who was asked, and what came of each.

ALTER TABLE llm_calls ADD COLUMN operation TEXT NOT NULL DEFAULT '';
ALTER TABLE llm_calls ADD COLUMN rule      TEXT NOT NULL DEFAULT '';
ALTER TABLE llm_calls ADD COLUMN tried     TEXT NOT NULL DEFAULT ''; -- `provider/model:word,…`

-- The last calls of a key, and who uses its secrets.
CREATE INDEX llm_calls_by_key ON llm_calls (key, id);
