-- A key stands for one row.
-- Grain: one row per key that is there more than once.
-- Reads: store.requests, store.tracks, store.names, store.machines, store.counter_defs.
CREATE OR REPLACE VIEW keys_are_unique AS
WITH
    keys AS (
        SELECT run, 'requests' AS in_table, request AS key FROM store.requests
        UNION ALL
        SELECT run, 'tracks', track FROM store.tracks
        UNION ALL
        SELECT run, 'names', name FROM store.names
        UNION ALL
        SELECT run, 'machines', machine FROM store.machines
        UNION ALL
        SELECT run, 'counter_defs', counter FROM store.counter_defs
    )
SELECT run, in_table, key, count(*) AS rows_with_it
FROM keys
GROUP BY run, in_table, key
HAVING count(*) > 1;
