-- Times before which a run cannot end, whatever its schedule, as computed before it was simulated.
-- Grain: one row per run and bound.  Reads: store.manifests.
-- Units: seconds from 0.
-- Definition: `work_...`: every entry occupies every stage of a pipeline of that role;
-- `longest_entry`: an entry alone on the machines; `link`: KV caches through the interfaces that
-- carry them.  `words` show the arithmetic.
CREATE OR REPLACE VIEW lower_bounds AS
WITH
    listed AS (
        SELECT run, unnest((manifest -> '$.bounds')::JSON[]) AS bound
        FROM store.manifests
    )
SELECT
    run,
    bound ->> '$.name' AS bound,
    (bound ->> '$.lower_s')::DOUBLE AS lower_s,
    bound ->> '$.words' AS words
FROM listed;
