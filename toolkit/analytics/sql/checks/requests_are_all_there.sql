-- The store holds as many requests as its manifest says, keyed 0 .. n - 1 (of an imported trace, as
-- its source keys them).
-- Grain: one row per run that does not.  Reads: store.manifests, store.requests.
CREATE OR REPLACE VIEW requests_are_all_there AS
WITH
    held AS (
        SELECT run, count(*) AS held, max(request) AS last_key
        FROM store.requests
        GROUP BY run
    )
SELECT
    manifests.run,
    (manifests.manifest ->> '$.tables.requests.rows')::BIGINT AS expected,
    coalesce(held.held, 0) AS held,
    held.last_key
FROM store.manifests
LEFT JOIN held USING (run)
WHERE
    coalesce(held.held, 0) <> (manifests.manifest ->> '$.tables.requests.rows')::BIGINT
    OR (held.last_key <> held.held - 1 AND manifests.manifest ->> '$.source.kind' IS NULL);
