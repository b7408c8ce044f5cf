-- Ids are UUIDs of version 7 as text, so that two databases can be merged. Times are UTC.

CREATE TABLE runs (
    id               TEXT PRIMARY KEY NOT NULL,
    name             TEXT NOT NULL,
    status           TEXT NOT NULL CHECK (status IN
        ('queued', 'running', 'stopping', 'completed', 'stopped', 'failed', 'interrupted')),
    config           TEXT NOT NULL,
    resume           BOOLEAN NOT NULL DEFAULT FALSE,
    stop_requested   BOOLEAN NOT NULL DEFAULT FALSE,
    -- The lease: who works on the run, until when, and the token that a write must carry.
    worker           TEXT,
    fence            BIGINT NOT NULL DEFAULT 0,
    lease_until      TIMESTAMP,
    error            TEXT,
    -- Progress, so that a list of runs reads one table.
    event_seq        BIGINT NOT NULL DEFAULT 0,
    step             BIGINT NOT NULL DEFAULT 0,
    total_steps      BIGINT,
    epoch            DOUBLE NOT NULL DEFAULT 0,
    last_loss        DOUBLE,
    eval_loss        DOUBLE,
    tokens_per_second DOUBLE,
    created_at       TIMESTAMP NOT NULL,
    queued_at        TIMESTAMP NOT NULL,
    started_at       TIMESTAMP,
    finished_at      TIMESTAMP
);
CREATE INDEX runs_by_status ON runs (status, queued_at, id);
CREATE INDEX runs_by_age ON runs (created_at, id);

-- One series is one range of the primary key. The loss on held-out data is the series `eval_loss`; where
-- nothing was evaluated there is no row.
CREATE TABLE metrics (
    run_id  TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    rank    INTEGER NOT NULL,
    step    BIGINT NOT NULL,
    epoch   DOUBLE NOT NULL,
    value   DOUBLE NOT NULL,
    PRIMARY KEY (run_id, name, rank, step)
) WITHOUT ROWID;
-- A resumed run forgets what came after its checkpoint.
CREATE INDEX metrics_by_step ON metrics (run_id, step);

-- Lowest and highest value of every 64 steps, so that a million points are drawn without reading them all.
CREATE TABLE metric_buckets (
    run_id    TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    rank      INTEGER NOT NULL,
    bucket    BIGINT NOT NULL,
    min_step  BIGINT NOT NULL,
    min_epoch DOUBLE NOT NULL,
    min_value DOUBLE NOT NULL,
    max_step  BIGINT NOT NULL,
    max_epoch DOUBLE NOT NULL,
    max_value DOUBLE NOT NULL,
    PRIMARY KEY (run_id, name, rank, bucket)
) WITHOUT ROWID;

CREATE TABLE events (
    run_id     TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq        BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    event      TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    id         TEXT PRIMARY KEY NOT NULL,
    run_id     TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step       BIGINT NOT NULL,
    path       TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    UNIQUE (run_id, step)
);

-- What a run leaves behind for use: an adapter, or a whole model of method full.
CREATE TABLE adapters (
    id         TEXT PRIMARY KEY NOT NULL,
    run_id     TEXT REFERENCES runs (id) ON DELETE SET NULL,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('adapter', 'model')),
    path       TEXT NOT NULL UNIQUE,
    base_model TEXT,
    created_at TIMESTAMP NOT NULL
);
CREATE INDEX adapters_by_run ON adapters (run_id);

CREATE TABLE datasets (
    id          TEXT PRIMARY KEY NOT NULL,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    path        TEXT NOT NULL UNIQUE,
    format      TEXT NOT NULL,
    samples     BIGINT,
    digest      TEXT,
    created_at  TIMESTAMP NOT NULL
);

CREATE TABLE plugins (
    name           TEXT PRIMARY KEY NOT NULL,
    enabled        BOOLEAN NOT NULL,
    -- A grant holds for one component; another digest has to ask again.
    granted_digest TEXT,
    grants         TEXT NOT NULL,
    updated_at     TIMESTAMP NOT NULL
);

CREATE TABLE plugin_executions (
    id                TEXT PRIMARY KEY NOT NULL,
    plugin            TEXT NOT NULL,
    run_id            TEXT REFERENCES runs (id) ON DELETE CASCADE,
    digest            TEXT NOT NULL,
    input_digest      TEXT NOT NULL,
    duration_us       BIGINT NOT NULL,
    fuel              BIGINT NOT NULL,
    peak_memory_bytes BIGINT NOT NULL,
    log               TEXT NOT NULL,
    outcome           TEXT NOT NULL,
    created_at        TIMESTAMP NOT NULL
);
CREATE INDEX plugin_executions_by_plugin ON plugin_executions (plugin, created_at);
CREATE INDEX plugin_executions_by_run ON plugin_executions (run_id);
