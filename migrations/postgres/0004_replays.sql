-- What came of the requests to read a dead letter again.

-- `operator`: sequence of the last request.
ALTER TABLE dead_letters ADD COLUMN requested BIGINT NOT NULL DEFAULT 0;
-- `dead-letter`: sequence of the last request that was answered, and when it was handled.
ALTER TABLE dead_letters ADD COLUMN answered BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dead_letters ADD COLUMN handled_at BIGINT;
