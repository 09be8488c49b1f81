-- Keys of customers can be wrapped anew by another envelope key.
SET lock_timeout = '5s';

-- Who had keys wrapped anew, how many at once, by which envelope key, and why. Its fingerprint says nothing of the key.
CREATE TABLE rewrapping (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL,
    envelope bytea NOT NULL CHECK (length(envelope) = 8),
    keys bigint NOT NULL CHECK (keys > 0),
    actor text NOT NULL CHECK (actor <> ''),
    reason text NOT NULL CHECK (reason <> '')
);

CREATE FUNCTION rewrapping_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was wrapped anew is append-only' USING ERRCODE = '42501';
END $$;
CREATE TRIGGER rewrapping_append_only BEFORE UPDATE OR DELETE ON rewrapping
    FOR EACH ROW EXECUTE FUNCTION rewrapping_is_append_only();
