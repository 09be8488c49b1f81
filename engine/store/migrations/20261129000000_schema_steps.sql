-- Which programs can work on this database, besides the newest. A program is named by the newest migration that it knows.
-- Instead of guessing from numbers, each migration says the oldest program that can still work on its result, in a line
--     -- works with programs since: 20261129000000
-- of its file; without that line, none can but those that know it. `signalbox migrate` keeps what was said here, where
-- programs read it that do not know the migration.
SET lock_timeout = '5s';

CREATE TABLE schema_step (
    version bigint PRIMARY KEY,
    oldest_program bigint NOT NULL CHECK (oldest_program <= version)
);
