-- What else the logs tell: orders, phases, model calls, specs, failures, insights, what people did.

CREATE TABLE work_orders (
    id TEXT NOT NULL PRIMARY KEY,
    task TEXT NOT NULL DEFAULT '',
    run INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    kind TEXT NOT NULL DEFAULT '',
    -- `dispatcher`
    issued_at INTEGER,
    acknowledge_by INTEGER,
    tries INTEGER NOT NULL DEFAULT 0,
    expired_at INTEGER,
    expiry_code TEXT NOT NULL DEFAULT '',
    -- `worker`. The fencing token is the stream sequence of the claim.
    worker TEXT NOT NULL DEFAULT '',
    fencing_token INTEGER NOT NULL DEFAULT 0,
    acknowledged_at INTEGER,
    ended_at INTEGER,
    result TEXT NOT NULL DEFAULT '',
    result_code TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX work_orders_by_task ON work_orders (task, run, attempt);

CREATE TABLE phases (
    task TEXT NOT NULL,
    run INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    phase TEXT NOT NULL,
    iteration INTEGER NOT NULL,
    completed_at INTEGER,
    duration_ms INTEGER NOT NULL DEFAULT 0,
    summary TEXT NOT NULL DEFAULT '',
    -- JSON array of {name, sha256, size}.
    evidence TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (task, run, attempt, phase, iteration)
) STRICT;

CREATE TABLE model_calls (
    task TEXT NOT NULL,
    run INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    -- A call that is told twice (when it was made, and at the end of its attempt) has one row.
    call TEXT NOT NULL,
    role TEXT NOT NULL DEFAULT '',
    provider TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    prompt_sha256 TEXT NOT NULL DEFAULT '',
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cost_micro_usd INTEGER NOT NULL DEFAULT 0,
    duration_ms INTEGER NOT NULL DEFAULT 0,
    verdict TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (task, run, attempt, call)
) STRICT;

CREATE TABLE specs (
    task TEXT NOT NULL,
    version INTEGER NOT NULL,
    checksum TEXT NOT NULL DEFAULT '',
    repository TEXT NOT NULL DEFAULT '',
    path TEXT NOT NULL DEFAULT '',
    commit_sha TEXT NOT NULL DEFAULT '',
    source TEXT NOT NULL DEFAULT '',
    submitted_by TEXT NOT NULL DEFAULT '',
    submission TEXT NOT NULL DEFAULT '',
    title TEXT NOT NULL DEFAULT '',
    summary TEXT NOT NULL DEFAULT '',
    format TEXT NOT NULL DEFAULT '',
    domain TEXT NOT NULL DEFAULT '',
    target TEXT NOT NULL DEFAULT '',
    readiness TEXT NOT NULL DEFAULT '',
    acceptance_criteria INTEGER NOT NULL DEFAULT 0,
    warnings INTEGER NOT NULL DEFAULT 0,
    -- Addresses in the content-addressed store, and size in bytes.
    spec_sha256 TEXT NOT NULL DEFAULT '',
    spec_size INTEGER NOT NULL DEFAULT 0,
    plan_sha256 TEXT NOT NULL DEFAULT '',
    registered_at INTEGER,
    PRIMARY KEY (task, version)
) STRICT;

CREATE TABLE failures (
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    log TEXT NOT NULL DEFAULT '',
    event TEXT NOT NULL DEFAULT '',
    task TEXT NOT NULL DEFAULT '',
    run INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    repository TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL DEFAULT '',
    class TEXT NOT NULL DEFAULT '',
    stage TEXT NOT NULL DEFAULT '',
    source TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    -- JSON array of texts, JSON object of texts.
    causes TEXT NOT NULL DEFAULT '[]',
    context TEXT NOT NULL DEFAULT '{}',
    trace_id TEXT NOT NULL DEFAULT '',
    time INTEGER,
    PRIMARY KEY (stream, sequence)
) STRICT;

CREATE INDEX failures_by_time ON failures (time, stream, sequence);
CREATE INDEX failures_by_task ON failures (task);

CREATE TABLE insights (
    group_key TEXT NOT NULL PRIMARY KEY,
    code TEXT NOT NULL DEFAULT '',
    stage TEXT NOT NULL DEFAULT '',
    domain TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    prompt_version TEXT NOT NULL DEFAULT '',
    count INTEGER NOT NULL DEFAULT 0,
    recent INTEGER NOT NULL DEFAULT 0,
    first_seen INTEGER,
    last_seen INTEGER,
    -- JSON array of task ids.
    tasks TEXT NOT NULL DEFAULT '[]',
    trend TEXT NOT NULL DEFAULT '',
    advice TEXT NOT NULL DEFAULT '',
    published_at INTEGER
) STRICT;

CREATE TABLE dead_letters (
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    service TEXT NOT NULL,
    -- `dead-letter`
    subject TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    time INTEGER,
    -- `operator`
    replay_requested_at INTEGER,
    replay_requested_by TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (stream, sequence, service)
) STRICT;

CREATE TABLE transition_refusals (
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    task TEXT NOT NULL DEFAULT '',
    run INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL DEFAULT '',
    asked_by TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    time INTEGER,
    PRIMARY KEY (stream, sequence)
) STRICT;

CREATE TABLE operator_actions (
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    action TEXT NOT NULL DEFAULT '',
    about TEXT NOT NULL DEFAULT '',
    run INTEGER NOT NULL DEFAULT 0,
    actor TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    time INTEGER,
    PRIMARY KEY (stream, sequence)
) STRICT;
