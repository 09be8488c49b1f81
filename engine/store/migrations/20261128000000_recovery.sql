-- Recovery of a database that was restored to an earlier time: what lanes had published since then and it forgot.
SET lock_timeout = '5s';

-- A lane found records on its topics that this database never gave out. Until somebody has settled that, no lane is
-- claimed and no permit given.
ALTER TABLE installation ADD COLUMN lost_commits boolean NOT NULL DEFAULT false;

-- Writes that may have been sent although this database does not know by whom and with which bytes. They are asked about
-- and never sent again, and their flows do not end without them.
ALTER TABLE attempt ADD COLUMN forgotten boolean NOT NULL DEFAULT false;
CREATE INDEX attempt_forgotten ON attempt (lane) WHERE forgotten;

-- Final events that were published and forgotten. What was told is not told otherwise: their flows end so and no other way.
CREATE TABLE published_ending (
    flow uuid PRIMARY KEY,
    lane smallint NOT NULL REFERENCES lane,
    status text NOT NULL,
    reason text
);
CREATE INDEX published_ending_lane ON published_ending (lane);

-- Up to here an input had been read before the database forgot it. An answer there to a question that is not asked again
-- yet comes once more when it is.
ALTER TABLE lane_input ADD COLUMN read_before bigint NOT NULL DEFAULT 0;
