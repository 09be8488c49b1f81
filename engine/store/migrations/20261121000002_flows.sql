-- Flows, the commands that started them, their attempts at vendor effects and their timers.
SET lock_timeout = '5s';

CREATE TABLE journey (
    name text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    source text NOT NULL,
    deployed_at bigint NOT NULL,
    PRIMARY KEY (name, version)
);

CREATE TABLE flow (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    aggregate text NOT NULL,
    lane smallint NOT NULL,
    journey text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'ended')),
    rev bigint NOT NULL,
    started_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    data jsonb NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE command (
    tenant text NOT NULL,
    key text NOT NULL,
    hash bytea NOT NULL,
    flow uuid NOT NULL,
    record text NOT NULL,
    content jsonb NOT NULL,
    accepted_at bigint NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE UNIQUE INDEX command_flow ON command (flow);

CREATE TABLE attempt (
    id uuid PRIMARY KEY,
    lane smallint NOT NULL,
    flow uuid NOT NULL,
    step text NOT NULL,
    grp integer NOT NULL,
    capability text NOT NULL,
    disposition text NOT NULL CHECK (disposition IN ('planned', 'sending', 'abandoned')),
    vendor text,
    sends integer NOT NULL DEFAULT 0,
    request bytea,
    first_sent_at bigint,
    result jsonb,
    contradiction jsonb,
    planned_at bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX attempt_flow ON attempt (flow);

CREATE TABLE gate (
    vendor text PRIMARY KEY,
    is_off boolean NOT NULL DEFAULT false,
    write_held boolean NOT NULL DEFAULT false
);

CREATE TABLE timer (
    flow uuid NOT NULL,
    name text NOT NULL,
    lane smallint NOT NULL,
    due_at bigint NOT NULL,
    PRIMARY KEY (flow, name)
);
CREATE INDEX timer_due ON timer (lane, due_at);

CREATE TABLE known_schema (
    id bigint PRIMARY KEY,
    text text NOT NULL
);
