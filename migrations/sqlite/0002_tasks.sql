-- Tasks: the life cycle is guarded here, whoever writes.

CREATE TABLE tasks (
    task TEXT NOT NULL PRIMARY KEY,
    -- Owned by the log `dispatcher`.
    status TEXT NOT NULL DEFAULT 'pending',
    run INTEGER NOT NULL DEFAULT 1,
    attempt INTEGER NOT NULL DEFAULT 0,
    target TEXT NOT NULL DEFAULT '',
    base_commit TEXT NOT NULL DEFAULT '',
    spec_version INTEGER NOT NULL DEFAULT 0,
    spec_checksum TEXT NOT NULL DEFAULT '',
    -- Whom it waits for: empty, `approval` or `resume`.
    waiting TEXT NOT NULL DEFAULT '',
    -- Why it is blocked, waits or was cancelled.
    reason TEXT NOT NULL DEFAULT '',
    -- How the run ended: empty, `success`, `failed`, `cancelled`, `timeout`.
    outcome TEXT NOT NULL DEFAULT '',
    failure_code TEXT NOT NULL DEFAULT '',
    failure_class TEXT NOT NULL DEFAULT '',
    failure_stage TEXT NOT NULL DEFAULT '',
    failure_message TEXT NOT NULL DEFAULT '',
    scheduled_at INTEGER,
    finished_at INTEGER,
    -- Owned by the log `spec-registry`.
    title TEXT NOT NULL DEFAULT '',
    domain TEXT NOT NULL DEFAULT '',
    spec_path TEXT NOT NULL DEFAULT '',
    latest_spec_version INTEGER NOT NULL DEFAULT 0,
    -- Joins over all logs: the order of application does not matter.
    repository TEXT NOT NULL DEFAULT '',
    created_at INTEGER,
    -- <run>.<attempt>.<clock>.<stage>, zero-padded: the greatest wins. Not exported.
    stage_order TEXT NOT NULL DEFAULT '',
    stage TEXT GENERATED ALWAYS AS (
        CASE substr(stage_order, 34, 2)
            WHEN '01' THEN 'registered' WHEN '02' THEN 'scheduled' WHEN '03' THEN 'awaiting_approval'
            WHEN '04' THEN 'dispatched' WHEN '05' THEN 'acknowledged' WHEN '06' THEN 'executing'
            WHEN '07' THEN 'pr_opened' WHEN '08' THEN 'checking' WHEN '09' THEN 'validating'
            WHEN '10' THEN 'merging' WHEN '11' THEN 'deploying' WHEN '12' THEN 'verifying'
            WHEN '13' THEN 'done' ELSE '' END
    ) STORED
) STRICT;

CREATE INDEX tasks_by_status ON tasks (status, task);
CREATE INDEX tasks_by_age ON tasks (created_at, task);

-- One row per run; each group of columns has one owner.
CREATE TABLE runs (
    task TEXT NOT NULL,
    run INTEGER NOT NULL,
    -- `dispatcher`
    started_at INTEGER,
    finished_at INTEGER,
    outcome TEXT NOT NULL DEFAULT '',
    failure_code TEXT NOT NULL DEFAULT '',
    failure_message TEXT NOT NULL DEFAULT '',
    -- `worker`
    worker TEXT NOT NULL DEFAULT '',
    claimed_at INTEGER,
    executed_at INTEGER,
    execution_ms INTEGER NOT NULL DEFAULT 0,
    risk_level TEXT NOT NULL DEFAULT '',
    summary TEXT NOT NULL DEFAULT '',
    -- `validator`
    verdict TEXT NOT NULL DEFAULT '',
    validated_head TEXT NOT NULL DEFAULT '',
    validated_at INTEGER,
    -- `deployer`
    pull_request INTEGER NOT NULL DEFAULT 0,
    pull_request_url TEXT NOT NULL DEFAULT '',
    head TEXT NOT NULL DEFAULT '',
    head_branch TEXT NOT NULL DEFAULT '',
    base_branch TEXT NOT NULL DEFAULT '',
    pull_request_at INTEGER,
    merge_commit TEXT NOT NULL DEFAULT '',
    merged_at INTEGER,
    release_commit TEXT NOT NULL DEFAULT '',
    release_url TEXT NOT NULL DEFAULT '',
    deployed_at INTEGER,
    restored_commit TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (task, run)
) STRICT;

CREATE TRIGGER tasks_begin BEFORE INSERT ON tasks WHEN NEW.status <> 'pending'
BEGIN
    SELECT RAISE(ABORT, 'STATE_MISMATCH: a task begins as pending, not as ' || NEW.status);
END;

CREATE TRIGGER tasks_status BEFORE UPDATE OF status, run ON tasks
WHEN NOT (
    (NEW.run = OLD.run AND (OLD.status, NEW.status) IN (VALUES
        ('pending', 'active'), ('pending', 'failed'), ('pending', 'blocked'), ('pending', 'cancelled'),
        ('active', 'complete'), ('active', 'failed'), ('active', 'blocked'), ('active', 'cancelled'),
        ('blocked', 'active'), ('blocked', 'failed'), ('blocked', 'cancelled')))
    OR (NEW.run = OLD.run + 1 AND (OLD.status, NEW.status) IN (VALUES
        ('failed', 'pending'), ('cancelled', 'pending'), ('blocked', 'pending')))
)
BEGIN
    SELECT RAISE(ABORT, 'STATE_MISMATCH: ' || OLD.status || ' (run ' || OLD.run || ') > '
        || NEW.status || ' (run ' || NEW.run || ') is not allowed');
END;

CREATE TRIGGER tasks_finished BEFORE UPDATE OF
    attempt, target, base_commit, spec_version, spec_checksum, waiting, reason, outcome,
    failure_code, failure_class, failure_stage, failure_message, scheduled_at, finished_at ON tasks
WHEN OLD.status IN ('complete', 'failed', 'cancelled') AND NEW.status = OLD.status AND NEW.run = OLD.run
BEGIN
    SELECT RAISE(ABORT, 'STATE_MISMATCH: run ' || OLD.run || ' of ' || OLD.task || ' is over: '
        || OLD.status || ' is final');
END;

CREATE TRIGGER tasks_keep BEFORE DELETE ON tasks
BEGIN
    SELECT RAISE(ABORT, 'STATE_MISMATCH: a task is never deleted');
END;
