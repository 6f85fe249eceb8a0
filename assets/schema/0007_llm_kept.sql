-- From which call an answer was kept that was given again, and how long before.

-- The call that it was the answer to; 0 if a provider was asked.
ALTER TABLE llm_calls ADD COLUMN kept_from INTEGER NOT NULL DEFAULT 0;

-- How old the answer was, in milliseconds.
ALTER TABLE llm_calls ADD COLUMN kept_age INTEGER NOT NULL DEFAULT 0;
