-- How many requests were being served, over time: taken up by a stage and not yet finished.
-- Grain: one row per stretch of time with one value, from the first start to the last finish.
-- Reads: requests.
-- Units: nanoseconds; requests count `size`.
-- Definition: from the first span on a stage to the last token (or until it was let go of, if it was
-- given up), where an imported trace says both.
-- The same at every trace level.
CREATE OR REPLACE VIEW in_flight AS
WITH
    changes AS (
        SELECT run, start_ns AS at_ns, size AS change
        FROM requests
        WHERE
            outcome IN ('served', 'cancelled', 'timed_out')
            AND start_ns IS NOT NULL
            AND finish_ns IS NOT NULL
        UNION ALL
        SELECT run, finish_ns, -size
        FROM requests
        WHERE
            outcome IN ('served', 'cancelled', 'timed_out')
            AND start_ns IS NOT NULL
            AND finish_ns IS NOT NULL
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
