-- What the logs say, kept as it was said: original headers and bytes, and a hash chain per stream.

CREATE TABLE checkpoints (
    stream TEXT NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL,
    -- Hash of the chain up to and with that sequence, in hex.
    hash TEXT NOT NULL,
    -- Logical clock of the last event, in microseconds; see events.clock.
    clock INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    -- Counts rows of this ledger as they came in, for those who watch. Not history, never exported.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    log TEXT NOT NULL,
    subject TEXT NOT NULL,
    key TEXT NOT NULL,
    -- Original headers, sorted: a JSON array of [name, value].
    headers TEXT NOT NULL,
    payload BLOB NOT NULL,
    hash TEXT NOT NULL,
    -- When the broker stored it, and when it was decided: microseconds since the epoch.
    stored_at INTEGER NOT NULL,
    time INTEGER NOT NULL,
    -- Later than the cause's and than that of the event before it in its stream, else the broker's time:
    -- sorts the events of several logs so that no effect stands before its cause.
    clock INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    task TEXT NOT NULL,
    run INTEGER NOT NULL,
    cause_stream TEXT NOT NULL,
    cause_sequence INTEGER NOT NULL,
    -- 1: the cause was not in its stream when this was applied. Not exported.
    cause_missing INTEGER NOT NULL,
    -- Empty, or why it changed nothing: STATE_MISMATCH, EVENT_INVALID, EVENT_UNKNOWN.
    mark TEXT NOT NULL,
    -- The sentence to the mark.
    note TEXT NOT NULL,
    UNIQUE (stream, sequence)
) STRICT;

CREATE INDEX events_by_task ON events (task, clock);
CREATE INDEX events_by_key ON events (key, clock);
CREATE INDEX events_by_cause ON events (cause_stream, cause_sequence);
CREATE INDEX events_by_mark ON events (mark) WHERE mark <> '';

CREATE TRIGGER events_keep BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are only appended, never changed or deleted');
END;

CREATE TRIGGER events_fixed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are only appended, never changed or deleted');
END;
