-- Journeys that a program has proven safe: an engine of the same program does not prove them again at its start.
-- works with programs since: 20261129000000
SET lock_timeout = '5s';

CREATE TABLE journey_proof (
    digest bytea PRIMARY KEY CHECK (length(digest) = 32),
    name text NOT NULL,
    version integer NOT NULL,
    proven_at bigint NOT NULL
);
