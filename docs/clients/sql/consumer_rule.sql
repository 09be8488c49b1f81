-- The consumers' rule in Postgres, for a consumer that keeps what it learns in a database.
--
-- Call judge() in the transaction that applies the record, before anything else. It locks the stream's row, so two
-- processes that got the same partition by a rebalance cannot both apply a record. It returns
--   apply      it is next: apply it and commit
--   duplicate  it was applied before: skip it and commit
--   gap        a record before it is missing: roll back, stop and page
CREATE TABLE consumed (
    topic text NOT NULL,
    partition integer NOT NULL,
    lane integer NOT NULL,
    last bigint NOT NULL,
    PRIMARY KEY (topic, partition, lane)
);

CREATE FUNCTION judge(of_topic text, of_partition integer, of_lane integer, lane_seq bigint, prev_seq bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE known bigint;
BEGIN
    -- The first record of a stream is where a consumer starts.
    INSERT INTO consumed VALUES (of_topic, of_partition, of_lane, lane_seq) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN 'apply';
    END IF;
    SELECT last INTO STRICT known FROM consumed
     WHERE topic = of_topic AND partition = of_partition AND lane = of_lane FOR UPDATE;
    IF lane_seq <= known THEN
        RETURN 'duplicate';
    ELSIF prev_seq <> known THEN
        RETURN 'gap';
    END IF;
    UPDATE consumed SET last = lane_seq
     WHERE topic = of_topic AND partition = of_partition AND lane = of_lane;
    RETURN 'apply';
END $$;
