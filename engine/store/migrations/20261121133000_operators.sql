-- Flows that stand still, the inputs that wait for them, and who agreed to what takes several people.
SET lock_timeout = '5s';

ALTER TABLE flow ADD COLUMN standing text CHECK (standing IN ('paused', 'parked'));
CREATE INDEX flow_standing ON flow (lane) WHERE standing IS NOT NULL;

CREATE TABLE parked (
    flow uuid NOT NULL,
    seq bigint NOT NULL,
    lane smallint NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (flow, seq)
);

-- Seat n exists only beside seat n - 1, and nobody has two seats: a last seat proves that so many people agreed.
CREATE TABLE assent (
    flow uuid NOT NULL,
    matter text NOT NULL,
    occasion bigint NOT NULL,
    seat integer NOT NULL CHECK (seat >= 1),
    people integer NOT NULL CHECK (people > 1),
    actor text NOT NULL CHECK (actor <> '' AND actor = lower(btrim(actor))),
    before integer GENERATED ALWAYS AS (nullif(seat - 1, 0)) STORED,
    PRIMARY KEY (flow, matter, occasion, seat),
    CONSTRAINT assent_by_different_people UNIQUE (flow, matter, occasion, actor),
    CONSTRAINT assent_seat_by_seat FOREIGN KEY (flow, matter, occasion, before)
        REFERENCES assent (flow, matter, occasion, seat),
    CHECK (seat <= people)
);

CREATE FUNCTION assent_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'assents are append-only' USING ERRCODE = '42501';
END $$;
CREATE TRIGGER assent_append_only BEFORE UPDATE OR DELETE ON assent
    FOR EACH ROW EXECUTE FUNCTION assent_is_append_only();
