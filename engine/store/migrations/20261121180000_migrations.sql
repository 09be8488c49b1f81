-- Bulk moves of running flows to another version of their journey: the job, how far each lane is, what became of each flow.
SET lock_timeout = '5s';

CREATE INDEX flow_running ON flow (lane, journey, version, id) WHERE status = 'running';

CREATE TABLE migration (
    id uuid PRIMARY KEY,
    journey text NOT NULL,
    from_version integer NOT NULL,
    to_version integer NOT NULL,
    plan text NOT NULL,
    actor text NOT NULL CHECK (btrim(actor) <> ''),
    reason text NOT NULL CHECK (btrim(reason) <> ''),
    requested_at bigint NOT NULL,
    FOREIGN KEY (journey, from_version) REFERENCES journey (name, version),
    FOREIGN KEY (journey, to_version) REFERENCES journey (name, version)
);

CREATE TABLE migration_lane (
    migration uuid NOT NULL REFERENCES migration,
    lane smallint NOT NULL,
    reached uuid,
    ended boolean NOT NULL DEFAULT false,
    PRIMARY KEY (migration, lane)
) WITH (fillfactor = 50);
CREATE INDEX migration_open ON migration_lane (lane) WHERE NOT ended;

CREATE TABLE migration_flow (
    migration uuid NOT NULL,
    flow uuid NOT NULL,
    lane smallint NOT NULL,
    state_before text NOT NULL,
    state_after text,
    refusal text,
    PRIMARY KEY (migration, flow),
    FOREIGN KEY (migration, lane) REFERENCES migration_lane (migration, lane),
    CHECK ((state_after IS NULL) <> (refusal IS NULL))
);
