-- no-transaction
-- People look flows up by their business id: without an index that read the whole table, six seconds of it at five million
-- flows. It is built beside the work that goes on. Where that was interrupted, `DROP INDEX flow_aggregate` and migrate again.
-- works with programs since: 20261129000000
CREATE INDEX CONCURRENTLY flow_aggregate ON flow (aggregate);
