-- The journal: outbox and audit trail in one. Append-only, hash-chained per lane, partitioned by day of `at`.
SET lock_timeout = '5s';

CREATE TABLE journal (
    lane smallint NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    flow uuid,
    flow_rev bigint NOT NULL,
    kind text NOT NULL,
    input_topic text,
    input_partition integer,
    input_offset bigint,
    actor text NOT NULL,
    reason text NOT NULL,
    journey text,
    version integer,
    state_before text,
    state_after text,
    out_last bigint NOT NULL,
    records bytea NOT NULL,
    prev_hash bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (lane, seq, at)
) PARTITION BY RANGE (at);
CREATE INDEX journal_flow ON journal (flow);

CREATE FUNCTION journal_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only' USING ERRCODE = '42501';
END $$;
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION journal_is_append_only();
