-- Lanes: one row per lane is the fence on which all correctness rests. Instants are microseconds since 1970-01-01.
SET lock_timeout = '5s';

CREATE TABLE installation (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    kafka_cluster text,
    system_identifier text,
    timeline text,
    write_held boolean NOT NULL DEFAULT false
);
INSERT INTO installation DEFAULT VALUES;

CREATE TABLE worker (
    id text PRIMARY KEY,
    heartbeat timestamptz NOT NULL
);

CREATE TABLE lane (
    id smallint PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    rev bigint NOT NULL DEFAULT 0,
    owner text,
    lease_until timestamptz,
    out_seq bigint NOT NULL DEFAULT 0,
    pub_seq bigint NOT NULL DEFAULT 0,
    pub_journal_seq bigint NOT NULL DEFAULT 0,
    journal_seq bigint NOT NULL DEFAULT 0,
    journal_head bytea NOT NULL DEFAULT '\x',
    stopped text,
    CHECK (pub_seq <= out_seq),
    CHECK (pub_journal_seq <= journal_seq)
) WITH (fillfactor = 50);

CREATE TABLE lane_input (
    lane smallint NOT NULL REFERENCES lane,
    topic text NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    last_offset bigint,
    last_record_hash bytea,
    PRIMARY KEY (lane, topic)
) WITH (fillfactor = 50);

CREATE TABLE lane_output (
    lane smallint NOT NULL REFERENCES lane,
    topic text NOT NULL,
    partition integer NOT NULL,
    last_seq bigint NOT NULL,
    last_acked_offset bigint NOT NULL DEFAULT -1,
    PRIMARY KEY (lane, topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE lane_peer (
    lane smallint NOT NULL REFERENCES lane,
    source smallint NOT NULL,
    last_seq bigint NOT NULL,
    PRIMARY KEY (lane, source)
) WITH (fillfactor = 50);
