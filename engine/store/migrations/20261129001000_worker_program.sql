-- Which program each engine runs: an upgrade can be seen, and a migration that would end an old engine is refused.
-- works with programs since: 20261129000000
SET lock_timeout = '5s';

ALTER TABLE worker ADD COLUMN program bigint;
