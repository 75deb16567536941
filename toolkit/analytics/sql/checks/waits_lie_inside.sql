-- A request waits only between its arrival and the finish of its microbatch, or its being let go of.
-- Grain: one row per wait outside.  Reads: waits, requests.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW waits_lie_inside AS
WITH
    batch AS (
        SELECT
            run,
            lead AS request,
            max(finish_ns) AS finish_ns,
            bool_and(outcome IN ('served', 'cancelled', 'timed_out')) AS ended
        FROM requests
        GROUP BY run, lead
    )
SELECT
    waits.run,
    waits.request,
    waits.cause,
    waits.from_ns,
    waits.until_ns,
    requests.arrival_ns,
    coalesce(batch.finish_ns, requests.finish_ns) AS finish_ns
FROM waits
JOIN requests USING (run, request)
LEFT JOIN batch USING (run, request)
WHERE
    waits.from_ns < requests.arrival_ns
    OR (
        coalesce(batch.ended, requests.outcome IN ('served', 'cancelled', 'timed_out'))
        AND waits.until_ns > coalesce(batch.finish_ns, requests.finish_ns)
    );
