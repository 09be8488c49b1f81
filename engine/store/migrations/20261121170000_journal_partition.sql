-- Partitions are attached by their owner alone. Engines, which own no table, make them through this function.
SET lock_timeout = '5s';

-- Creates the journal's partition of a day (counted from 1970-01-01), apart and then attached: creating it in place would
-- lock the whole journal. A partition that exists stays as it is.
CREATE FUNCTION ensure_journal_partition(day bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := format('journal_d%s', day);
    micros_per_day CONSTANT bigint := 86400000000;
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I (LIKE journal INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('ALTER TABLE journal ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                   name, day * micros_per_day, (day + 1) * micros_per_day);
END $$;
REVOKE ALL ON FUNCTION ensure_journal_partition(bigint) FROM PUBLIC;
