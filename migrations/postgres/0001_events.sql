-- What the logs say, kept as it was said: original headers and bytes, and a hash chain per stream.

CREATE TABLE checkpoints (
    stream TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL,
    -- Hash of the chain up to and with that sequence, in hex.
    hash TEXT COLLATE "C" NOT NULL,
    -- Logical clock of the last event, in microseconds; see events.clock.
    clock BIGINT NOT NULL
);

CREATE TABLE events (
    -- Counts rows of this ledger as they came in, for those who watch. Not history, never exported.
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    log TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    -- Original headers, sorted: a JSON array of [name, value].
    headers TEXT COLLATE "C" NOT NULL,
    payload BYTEA NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    -- When the broker stored it, and when it was decided: microseconds since the epoch.
    stored_at BIGINT NOT NULL,
    time BIGINT NOT NULL,
    -- Later than the cause's and than that of the event before it in its stream, else the broker's time:
    -- sorts the events of several logs so that no effect stands before its cause.
    clock BIGINT NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    event_type TEXT COLLATE "C" NOT NULL,
    task TEXT COLLATE "C" NOT NULL,
    run BIGINT NOT NULL,
    cause_stream TEXT COLLATE "C" NOT NULL,
    cause_sequence BIGINT NOT NULL,
    -- 1: the cause was not in its stream when this was applied. Not exported.
    cause_missing BIGINT NOT NULL,
    -- Empty, or why it changed nothing: STATE_MISMATCH, EVENT_INVALID, EVENT_UNKNOWN.
    mark TEXT COLLATE "C" NOT NULL,
    -- The sentence to the mark.
    note TEXT COLLATE "C" NOT NULL,
    UNIQUE (stream, sequence)
);

CREATE INDEX events_by_task ON events (task, clock);
CREATE INDEX events_by_key ON events (key, clock);
CREATE INDEX events_by_cause ON events (cause_stream, cause_sequence);
CREATE INDEX events_by_mark ON events (mark) WHERE mark <> '';

CREATE FUNCTION refuse_event_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are only appended, never changed or deleted' USING ERRCODE = 'MR002';
END $$;

CREATE TRIGGER events_keep BEFORE DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_event_change();
CREATE TRIGGER events_fixed BEFORE UPDATE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_event_change();
CREATE TRIGGER events_whole BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_event_change();
