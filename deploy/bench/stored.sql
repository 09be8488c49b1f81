-- Fills the tables with copies of the flows that have ended, as if they had been led yesterday, for `signalbox bench --stored`.
-- Takes the variable `flows`: how many copies. For a database of the benchmark's own: indexes are left out meanwhile and built
-- afterwards, and copies of journal rows are not chained to one another.
\set ON_ERROR_STOP on

SET synchronous_commit = off;
SET maintenance_work_mem = '512MB';
SET client_min_messages = warning;

CREATE TEMP TABLE original AS SELECT id, subject FROM flow WHERE status = 'ended';
CREATE TEMP TABLE copy AS
    SELECT number FROM generate_series(1, (SELECT ceil(:flows::numeric / count(*))::integer FROM original)) AS number;
ANALYZE original, copy;

CREATE FUNCTION pg_temp.of_copy(id uuid, number integer) RETURNS uuid LANGUAGE sql IMMUTABLE
    AS $$ SELECT md5(number::text || id::text)::uuid $$;

-- Yesterday's partition of the journal, in microseconds and days of the epoch.
SELECT ensure_journal_partition(min(at) / 86400000000 - 1) FROM journal;

-- The tables that are filled, with the partitions of the journal.
CREATE TEMP TABLE filled AS
    SELECT t.oid FROM unnest('{flow,command,attempt,subject_key,recognition,journal}'::regclass[]) AS t(oid)
    UNION SELECT inhrelid FROM pg_inherits WHERE inhparent = 'journal'::regclass;

BEGIN;
UPDATE pg_index SET indisready = false WHERE indrelid IN (SELECT oid FROM filled);

INSERT INTO flow (id, tenant, aggregate, subject, lane, journey, version, state, status, rev, started_at, updated_at, data)
    SELECT pg_temp.of_copy(f.id, number), tenant, aggregate || '-' || number, pg_temp.of_copy(f.subject, number), lane, journey,
           version, state, status, rev, started_at - 86400000000, updated_at - 86400000000, data
    FROM flow f JOIN original USING (id) CROSS JOIN copy;

INSERT INTO command (tenant, key, hash, flow, record, content, accepted_at)
    SELECT tenant, key || '-' || number, hash, pg_temp.of_copy(flow, number), record, content, accepted_at - 86400000000
    FROM command JOIN original ON id = flow CROSS JOIN copy;

INSERT INTO attempt (id, lane, flow, step, grp, capability, disposition, vendor, sends, request, first_sent_at, result, planned_at)
    SELECT pg_temp.of_copy(a.id, number), lane, pg_temp.of_copy(flow, number), step, grp, capability, disposition, vendor, sends,
           request, first_sent_at - 86400000000, result, planned_at - 86400000000
    FROM attempt a JOIN original o ON o.id = flow CROSS JOIN copy;

INSERT INTO subject_key (subject, generation, wrapped, created_at, erased_at)
    SELECT pg_temp.of_copy(subject, number), generation, wrapped, created_at - 86400000000, erased_at
    FROM subject_key JOIN (SELECT DISTINCT subject FROM original) o USING (subject) CROSS JOIN copy;

INSERT INTO recognition (subject, likeness, watched, flow, at)
    SELECT pg_temp.of_copy(subject, number), likeness, watched, pg_temp.of_copy(flow, number), at - 86400000000
    FROM recognition r JOIN (SELECT DISTINCT subject FROM original) o USING (subject) CROSS JOIN copy;

-- A microsecond for each copy, as position and time tell rows apart.
INSERT INTO journal (lane, seq, at, flow, flow_rev, kind, input_topic, input_partition, input_offset, actor, reason, journey,
                     version, state_before, state_after, out_last, records, prev_hash, hash)
    SELECT lane, seq, at - 86400000000 + number, pg_temp.of_copy(flow, number), flow_rev, kind, input_topic, input_partition,
           input_offset, actor, reason, journey, version, state_before, state_after, out_last, records, prev_hash, hash
    FROM journal JOIN original ON id = flow CROSS JOIN copy;

UPDATE pg_index SET indisready = true WHERE indrelid IN (SELECT oid FROM filled);
COMMIT;

REINDEX TABLE flow;
REINDEX TABLE command;
REINDEX TABLE attempt;
REINDEX TABLE subject_key;
REINDEX TABLE recognition;
REINDEX TABLE journal;
VACUUM (ANALYZE) flow, command, attempt, subject_key, recognition, journal;
CHECKPOINT;
