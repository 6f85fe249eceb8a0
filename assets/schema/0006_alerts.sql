-- When a person has seen an alert, when somebody was last tried to be told, and how to find by it
-- what waits and what was given up. Times are microseconds since 1970 in UTC.

ALTER TABLE alerts ADD COLUMN seen INTEGER;
ALTER TABLE alert_sends ADD COLUMN tried INTEGER NOT NULL DEFAULT 0;

CREATE INDEX alert_sends_by_state ON alert_sends (state, target, tried);
