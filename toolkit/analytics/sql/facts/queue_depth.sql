-- How many requests had arrived and were not yet taken up by a stage, over time.
-- Grain: one row per stretch of time with one value, from 0 to the last start.
-- Reads: requests.
-- Units: nanoseconds; requests count `size`.
-- Definition: from arrival to the first span on a stage, or until it was given up; a request that was
-- refused does not count, nor one whose arrival an imported trace does not say.  The same at every
-- trace level.
CREATE OR REPLACE VIEW queue_depth AS
WITH
    queued AS (
        SELECT run, arrival_ns, coalesce(start_ns, given_up_ns) AS until_ns, size
        FROM requests
        WHERE arrival_ns IS NOT NULL AND coalesce(start_ns, given_up_ns) IS NOT NULL
    ),
    changes AS (
        SELECT run, arrival_ns AS at_ns, size AS change
        FROM queued
        UNION ALL
        SELECT run, until_ns, -size
        FROM queued
    ),
    moments AS (
        SELECT run, at_ns, sum(change)::BIGINT AS change
        FROM changes
        GROUP BY run, at_ns
    ),
    levels AS (
        SELECT
            run,
            at_ns AS from_ns,
            lead(at_ns) OVER in_time AS until_ns,
            sum(change) OVER in_time::BIGINT AS requests
        FROM moments
        WINDOW in_time AS (PARTITION BY run ORDER BY at_ns)
    )
SELECT run, from_ns, until_ns, requests
FROM levels
WHERE until_ns IS NOT NULL;
