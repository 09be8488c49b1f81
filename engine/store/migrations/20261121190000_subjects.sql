-- Personal data is sealed under a key of its subject, and destroying the key erases it everywhere at once.
SET lock_timeout = '5s';

-- What is there unsealed could never be erased, and a journal row cannot be sealed afterwards: its hash covers it.
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM command) OR EXISTS (SELECT 1 FROM journal) THEN
        RAISE EXCEPTION 'this database holds flows whose personal data was never sealed; begin with an empty database';
    END IF;
END $$;

-- Data keys, wrapped by the envelope key. A destroyed key keeps its row, so that what it sealed is known to be erased.
CREATE TABLE subject_key (
    subject uuid NOT NULL,
    generation integer NOT NULL CHECK (generation > 0),
    wrapped bytea,
    created_at bigint NOT NULL,
    erased_at bigint,
    PRIMARY KEY (subject, generation),
    CHECK ((wrapped IS NULL) = (erased_at IS NOT NULL))
);
CREATE UNIQUE INDEX subject_key_current ON subject_key (subject) WHERE erased_at IS NULL;
CREATE INDEX subject_key_created ON subject_key (created_at);

CREATE FUNCTION subject_key_is_never_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.erased_at IS NOT NULL THEN
        RAISE EXCEPTION 'a key that was destroyed stays destroyed, and no key is forgotten' USING ERRCODE = '42501';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER subject_key_destroyed BEFORE UPDATE OR DELETE ON subject_key
    FOR EACH ROW EXECUTE FUNCTION subject_key_is_never_back();

-- Who had whom erased, and why. It names no customer: a subject is an HMAC.
CREATE TABLE erasure (
    subject uuid NOT NULL,
    generation integer NOT NULL,
    at bigint NOT NULL,
    actor text NOT NULL CHECK (actor <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    PRIMARY KEY (subject, generation),
    FOREIGN KEY (subject, generation) REFERENCES subject_key (subject, generation)
);

CREATE FUNCTION erasure_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'erasures are append-only' USING ERRCODE = '42501';
END $$;
CREATE TRIGGER erasure_append_only BEFORE UPDATE OR DELETE ON erasure
    FOR EACH ROW EXECUTE FUNCTION erasure_is_append_only();

ALTER TABLE command ALTER COLUMN content TYPE bytea USING convert_to(content::text, 'UTF8');
ALTER TABLE flow ADD COLUMN subject uuid NOT NULL;
CREATE INDEX flow_subject ON flow (subject);
