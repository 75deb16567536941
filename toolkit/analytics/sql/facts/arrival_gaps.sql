-- How long after one arrival the next came.
-- Grain: one row per entry but the first of its run.  Reads: requests.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW arrival_gaps AS
WITH
    arrival AS (
        SELECT
            run,
            request,
            arrival_ns,
            lag(arrival_ns) OVER (PARTITION BY run ORDER BY arrival_ns, request) AS before_ns
        FROM requests
        WHERE arrival_ns IS NOT NULL
    )
SELECT
    run,
    request,
    arrival_ns,
    arrival_ns - before_ns AS gap_ns
FROM arrival
WHERE before_ns IS NOT NULL;
