-- A migration can be stopped half way: its lanes have ended without having looked at every flow.
SET lock_timeout = '5s';

ALTER TABLE migration_lane ADD COLUMN stopped boolean NOT NULL DEFAULT false;
ALTER TABLE migration_lane ADD CHECK (ended OR NOT stopped);
