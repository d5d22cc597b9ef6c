-- Tasks: the life cycle is guarded here, whoever writes.

CREATE TABLE tasks (
    task TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- Owned by the log `dispatcher`.
    status TEXT COLLATE "C" NOT NULL DEFAULT 'pending',
    run BIGINT NOT NULL DEFAULT 1,
    attempt BIGINT NOT NULL DEFAULT 0,
    target TEXT COLLATE "C" NOT NULL DEFAULT '',
    base_commit TEXT COLLATE "C" NOT NULL DEFAULT '',
    spec_version BIGINT NOT NULL DEFAULT 0,
    spec_checksum TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- Whom it waits for: empty, `approval` or `resume`.
    waiting TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- Why it is blocked, waits or was cancelled.
    reason TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- How the run ended: empty, `success`, `failed`, `cancelled`, `timeout`.
    outcome TEXT COLLATE "C" NOT NULL DEFAULT '',
    failure_code TEXT COLLATE "C" NOT NULL DEFAULT '',
    failure_class TEXT COLLATE "C" NOT NULL DEFAULT '',
    failure_stage TEXT COLLATE "C" NOT NULL DEFAULT '',
    failure_message TEXT COLLATE "C" NOT NULL DEFAULT '',
    scheduled_at BIGINT,
    finished_at BIGINT,
    -- Owned by the log `spec-registry`.
    title TEXT COLLATE "C" NOT NULL DEFAULT '',
    domain TEXT COLLATE "C" NOT NULL DEFAULT '',
    spec_path TEXT COLLATE "C" NOT NULL DEFAULT '',
    latest_spec_version BIGINT NOT NULL DEFAULT 0,
    -- Joins over all logs: the order of application does not matter.
    repository TEXT COLLATE "C" NOT NULL DEFAULT '',
    created_at BIGINT,
    -- <run>.<attempt>.<clock>.<stage>, zero-padded: the greatest wins. Not exported.
    stage_order TEXT COLLATE "C" NOT NULL DEFAULT '',
    stage TEXT COLLATE "C" GENERATED ALWAYS AS (
        CASE substr(stage_order, 34, 2)
            WHEN '01' THEN 'registered' WHEN '02' THEN 'scheduled' WHEN '03' THEN 'awaiting_approval'
            WHEN '04' THEN 'dispatched' WHEN '05' THEN 'acknowledged' WHEN '06' THEN 'executing'
            WHEN '07' THEN 'pr_opened' WHEN '08' THEN 'checking' WHEN '09' THEN 'validating'
            WHEN '10' THEN 'merging' WHEN '11' THEN 'deploying' WHEN '12' THEN 'verifying'
            WHEN '13' THEN 'done' ELSE '' END
    ) STORED
);

CREATE INDEX tasks_by_status ON tasks (status, task);
CREATE INDEX tasks_by_age ON tasks (created_at, task);

-- One row per run; each group of columns has one owner.
CREATE TABLE runs (
    task TEXT COLLATE "C" NOT NULL,
    run BIGINT NOT NULL,
    -- `dispatcher`
    started_at BIGINT,
    finished_at BIGINT,
    outcome TEXT COLLATE "C" NOT NULL DEFAULT '',
    failure_code TEXT COLLATE "C" NOT NULL DEFAULT '',
    failure_message TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- `worker`
    worker TEXT COLLATE "C" NOT NULL DEFAULT '',
    claimed_at BIGINT,
    executed_at BIGINT,
    execution_ms BIGINT NOT NULL DEFAULT 0,
    risk_level TEXT COLLATE "C" NOT NULL DEFAULT '',
    summary TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- `validator`
    verdict TEXT COLLATE "C" NOT NULL DEFAULT '',
    validated_head TEXT COLLATE "C" NOT NULL DEFAULT '',
    validated_at BIGINT,
    -- `deployer`
    pull_request BIGINT NOT NULL DEFAULT 0,
    pull_request_url TEXT COLLATE "C" NOT NULL DEFAULT '',
    head TEXT COLLATE "C" NOT NULL DEFAULT '',
    head_branch TEXT COLLATE "C" NOT NULL DEFAULT '',
    base_branch TEXT COLLATE "C" NOT NULL DEFAULT '',
    pull_request_at BIGINT,
    merge_commit TEXT COLLATE "C" NOT NULL DEFAULT '',
    merged_at BIGINT,
    release_commit TEXT COLLATE "C" NOT NULL DEFAULT '',
    release_url TEXT COLLATE "C" NOT NULL DEFAULT '',
    deployed_at BIGINT,
    restored_commit TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (task, run)
);

CREATE FUNCTION guard_task_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'pending' THEN
            RAISE EXCEPTION 'STATE_MISMATCH: a task begins as pending, not as %', NEW.status
                USING ERRCODE = 'MR001';
        END IF;
    ELSIF NOT (
        (NEW.run = OLD.run AND (OLD.status, NEW.status) IN (
            ('pending', 'active'), ('pending', 'failed'), ('pending', 'blocked'), ('pending', 'cancelled'),
            ('active', 'complete'), ('active', 'failed'), ('active', 'blocked'), ('active', 'cancelled'),
            ('blocked', 'active'), ('blocked', 'failed'), ('blocked', 'cancelled')))
        OR (NEW.run = OLD.run + 1 AND (OLD.status, NEW.status) IN (
            ('failed', 'pending'), ('cancelled', 'pending'), ('blocked', 'pending')))
    ) THEN
        RAISE EXCEPTION 'STATE_MISMATCH: % (run %) > % (run %) is not allowed',
            OLD.status, OLD.run, NEW.status, NEW.run USING ERRCODE = 'MR001';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER tasks_begin BEFORE INSERT ON tasks
    FOR EACH ROW EXECUTE FUNCTION guard_task_status();
CREATE TRIGGER tasks_status BEFORE UPDATE OF status, run ON tasks
    FOR EACH ROW EXECUTE FUNCTION guard_task_status();

CREATE FUNCTION guard_finished_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status IN ('complete', 'failed', 'cancelled') AND NEW.status = OLD.status AND NEW.run = OLD.run THEN
        RAISE EXCEPTION 'STATE_MISMATCH: run % of % is over: % is final', OLD.run, OLD.task, OLD.status
            USING ERRCODE = 'MR001';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER tasks_finished BEFORE UPDATE OF
    attempt, target, base_commit, spec_version, spec_checksum, waiting, reason, outcome,
    failure_code, failure_class, failure_stage, failure_message, scheduled_at, finished_at ON tasks
    FOR EACH ROW EXECUTE FUNCTION guard_finished_task();

CREATE FUNCTION refuse_task_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'STATE_MISMATCH: a task is never deleted' USING ERRCODE = 'MR001';
END $$;

CREATE TRIGGER tasks_keep BEFORE DELETE ON tasks
    FOR EACH ROW EXECUTE FUNCTION refuse_task_delete();
