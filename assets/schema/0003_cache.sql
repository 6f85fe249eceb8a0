-- What came of the cache, of the requests of a row.

ALTER TABLE traffic ADD COLUMN looked_up INTEGER NOT NULL DEFAULT 0; -- asked of a cache
ALTER TABLE traffic ADD COLUMN cached    INTEGER NOT NULL DEFAULT 0; -- answered by it
