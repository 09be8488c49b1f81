-- A flow's row is rewritten by every step: room for the new version beside the old one keeps its indexes untouched. Pages
-- that are full already stay as they are.
-- works with programs since: 20261129000000
SET lock_timeout = '5s';

ALTER TABLE flow SET (fillfactor = 45);
