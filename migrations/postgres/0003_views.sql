-- What else the logs tell: orders, phases, model calls, specs, failures, insights, what people did.

CREATE TABLE work_orders (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    task TEXT COLLATE "C" NOT NULL DEFAULT '',
    run BIGINT NOT NULL DEFAULT 0,
    attempt BIGINT NOT NULL DEFAULT 0,
    kind TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- `dispatcher`
    issued_at BIGINT,
    acknowledge_by BIGINT,
    tries BIGINT NOT NULL DEFAULT 0,
    expired_at BIGINT,
    expiry_code TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- `worker`. The fencing token is the stream sequence of the claim.
    worker TEXT COLLATE "C" NOT NULL DEFAULT '',
    fencing_token BIGINT NOT NULL DEFAULT 0,
    acknowledged_at BIGINT,
    ended_at BIGINT,
    result TEXT COLLATE "C" NOT NULL DEFAULT '',
    result_code TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE INDEX work_orders_by_task ON work_orders (task, run, attempt);

CREATE TABLE phases (
    task TEXT COLLATE "C" NOT NULL,
    run BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    phase TEXT COLLATE "C" NOT NULL,
    iteration BIGINT NOT NULL,
    completed_at BIGINT,
    duration_ms BIGINT NOT NULL DEFAULT 0,
    summary TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- JSON array of {name, sha256, size}.
    evidence TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    PRIMARY KEY (task, run, attempt, phase, iteration)
);

CREATE TABLE model_calls (
    task TEXT COLLATE "C" NOT NULL,
    run BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    -- A call that is told twice (when it was made, and at the end of its attempt) has one row.
    call TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL DEFAULT '',
    provider TEXT COLLATE "C" NOT NULL DEFAULT '',
    model TEXT COLLATE "C" NOT NULL DEFAULT '',
    prompt_sha256 TEXT COLLATE "C" NOT NULL DEFAULT '',
    input_tokens BIGINT NOT NULL DEFAULT 0,
    output_tokens BIGINT NOT NULL DEFAULT 0,
    cost_micro_usd BIGINT NOT NULL DEFAULT 0,
    duration_ms BIGINT NOT NULL DEFAULT 0,
    verdict TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (task, run, attempt, call)
);

CREATE TABLE specs (
    task TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    checksum TEXT COLLATE "C" NOT NULL DEFAULT '',
    repository TEXT COLLATE "C" NOT NULL DEFAULT '',
    path TEXT COLLATE "C" NOT NULL DEFAULT '',
    commit_sha TEXT COLLATE "C" NOT NULL DEFAULT '',
    source TEXT COLLATE "C" NOT NULL DEFAULT '',
    submitted_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    submission TEXT COLLATE "C" NOT NULL DEFAULT '',
    title TEXT COLLATE "C" NOT NULL DEFAULT '',
    summary TEXT COLLATE "C" NOT NULL DEFAULT '',
    format TEXT COLLATE "C" NOT NULL DEFAULT '',
    domain TEXT COLLATE "C" NOT NULL DEFAULT '',
    target TEXT COLLATE "C" NOT NULL DEFAULT '',
    readiness TEXT COLLATE "C" NOT NULL DEFAULT '',
    acceptance_criteria BIGINT NOT NULL DEFAULT 0,
    warnings BIGINT NOT NULL DEFAULT 0,
    -- Addresses in the content-addressed store, and size in bytes.
    spec_sha256 TEXT COLLATE "C" NOT NULL DEFAULT '',
    spec_size BIGINT NOT NULL DEFAULT 0,
    plan_sha256 TEXT COLLATE "C" NOT NULL DEFAULT '',
    registered_at BIGINT,
    PRIMARY KEY (task, version)
);

CREATE TABLE failures (
    stream TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    log TEXT COLLATE "C" NOT NULL DEFAULT '',
    event TEXT COLLATE "C" NOT NULL DEFAULT '',
    task TEXT COLLATE "C" NOT NULL DEFAULT '',
    run BIGINT NOT NULL DEFAULT 0,
    attempt BIGINT NOT NULL DEFAULT 0,
    repository TEXT COLLATE "C" NOT NULL DEFAULT '',
    code TEXT COLLATE "C" NOT NULL DEFAULT '',
    class TEXT COLLATE "C" NOT NULL DEFAULT '',
    stage TEXT COLLATE "C" NOT NULL DEFAULT '',
    source TEXT COLLATE "C" NOT NULL DEFAULT '',
    message TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- JSON array of texts, JSON object of texts.
    causes TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    context TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    trace_id TEXT COLLATE "C" NOT NULL DEFAULT '',
    time BIGINT,
    PRIMARY KEY (stream, sequence)
);

CREATE INDEX failures_by_time ON failures (time, stream, sequence);
CREATE INDEX failures_by_task ON failures (task);

CREATE TABLE insights (
    group_key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    code TEXT COLLATE "C" NOT NULL DEFAULT '',
    stage TEXT COLLATE "C" NOT NULL DEFAULT '',
    domain TEXT COLLATE "C" NOT NULL DEFAULT '',
    model TEXT COLLATE "C" NOT NULL DEFAULT '',
    prompt_version TEXT COLLATE "C" NOT NULL DEFAULT '',
    count BIGINT NOT NULL DEFAULT 0,
    recent BIGINT NOT NULL DEFAULT 0,
    first_seen BIGINT,
    last_seen BIGINT,
    -- JSON array of task ids.
    tasks TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    trend TEXT COLLATE "C" NOT NULL DEFAULT '',
    advice TEXT COLLATE "C" NOT NULL DEFAULT '',
    published_at BIGINT
);

CREATE TABLE dead_letters (
    stream TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    service TEXT COLLATE "C" NOT NULL,
    -- `dead-letter`
    subject TEXT COLLATE "C" NOT NULL DEFAULT '',
    code TEXT COLLATE "C" NOT NULL DEFAULT '',
    message TEXT COLLATE "C" NOT NULL DEFAULT '',
    attempts BIGINT NOT NULL DEFAULT 0,
    time BIGINT,
    -- `operator`
    replay_requested_at BIGINT,
    replay_requested_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (stream, sequence, service)
);

CREATE TABLE transition_refusals (
    stream TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    task TEXT COLLATE "C" NOT NULL DEFAULT '',
    run BIGINT NOT NULL DEFAULT 0,
    status TEXT COLLATE "C" NOT NULL DEFAULT '',
    asked_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    message TEXT COLLATE "C" NOT NULL DEFAULT '',
    time BIGINT,
    PRIMARY KEY (stream, sequence)
);

CREATE TABLE operator_actions (
    stream TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    action TEXT COLLATE "C" NOT NULL DEFAULT '',
    about TEXT COLLATE "C" NOT NULL DEFAULT '',
    run BIGINT NOT NULL DEFAULT 0,
    actor TEXT COLLATE "C" NOT NULL DEFAULT '',
    reason TEXT COLLATE "C" NOT NULL DEFAULT '',
    time BIGINT,
    PRIMARY KEY (stream, sequence)
);
