-- The parts of a request's end-to-end time add up to it with their blockers named, the waits on
-- blockers to their cause, and the pieces of its life to the whole.
-- Grain: one row per request and sum that does not.
-- Reads: request_parts, request_pieces, request_time, requests.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW request_parts_add_up AS
WITH
    named AS (
        SELECT run, request, sum(dur_ns)::BIGINT AS added_ns, min(dur_ns) AS least_ns
        FROM request_parts
        GROUP BY run, request
    ),
    by_cause AS (
        SELECT run, request, part, sum(dur_ns)::BIGINT AS added_ns
        FROM request_parts
        WHERE part NOT IN ('prefill', 'decode')
        GROUP BY run, request, part
    ),
    lived AS (
        SELECT run, request, sum(dur_ns)::BIGINT AS added_ns, min(dur_ns) AS least_ns
        FROM request_pieces
        GROUP BY run, request
    )
SELECT
    requests.run,
    requests.request,
    'parts' AS what,
    requests.finish_ns - requests.arrival_ns AS due_ns,
    named.added_ns
FROM requests
LEFT JOIN named USING (run, request)
WHERE
    requests.outcome = 'served'
    AND (
        named.added_ns IS DISTINCT FROM requests.finish_ns - requests.arrival_ns
        OR named.least_ns < 0
    )
UNION ALL
SELECT
    request_time.run,
    request_time.request,
    request_time.part,
    request_time.dur_ns,
    by_cause.added_ns
FROM request_time
LEFT JOIN by_cause USING (run, request, part)
WHERE
    request_time.part <> 'work'
    AND request_time.dur_ns > 0
    AND coalesce(by_cause.added_ns, 0) <> request_time.dur_ns
UNION ALL
SELECT
    lived.run,
    lived.request,
    'pieces',
    requests.finish_ns - requests.arrival_ns,
    lived.added_ns
FROM lived
JOIN requests USING (run, request)
WHERE
    lived.added_ns <> requests.finish_ns - requests.arrival_ns
    OR lived.least_ns < 0;
