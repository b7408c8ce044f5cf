-- The user's values for the plugin's settings, a JSON object.
ALTER TABLE plugins ADD COLUMN config TEXT NOT NULL DEFAULT '{}';

-- What plugins used of what they are lent: one row for each call and thing.
CREATE TABLE plugin_uses (
    id         TEXT PRIMARY KEY NOT NULL,
    plugin     TEXT NOT NULL,
    digest     TEXT NOT NULL,
    capability TEXT NOT NULL,
    -- The host, folder, secret (its name) or model.
    target     TEXT NOT NULL,
    times      BIGINT NOT NULL,
    refused    BIGINT NOT NULL,
    bytes      BIGINT NOT NULL,
    tokens     BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL
);
CREATE INDEX plugin_uses_by_plugin ON plugin_uses (plugin, created_at);

-- What the user said of a plugin's suggestions; where it stands in the answer, as a JSON pointer.
CREATE TABLE plugin_suggestions (
    execution_id TEXT NOT NULL REFERENCES plugin_executions (id) ON DELETE CASCADE,
    pointer      TEXT NOT NULL,
    verdict      TEXT NOT NULL CHECK (verdict IN ('accepted', 'rejected')),
    updated_at   TIMESTAMP NOT NULL,
    PRIMARY KEY (execution_id, pointer)
);
