-- Whom flows recognise: customers whom one flow has approved, so that others need not ask who they are. It names nobody:
-- customers and likenesses are HMACs. A customer whom nobody recognises any more keeps the row, so that an older finding
-- that is committed later does not bring them back; an erasure removes it.
SET lock_timeout = '5s';

CREATE TABLE recognition (
    subject uuid PRIMARY KEY,
    likeness uuid,
    watched boolean NOT NULL,
    flow uuid NOT NULL,
    at bigint NOT NULL,
    CHECK (likeness IS NOT NULL OR NOT watched)
) WITH (fillfactor = 70);
