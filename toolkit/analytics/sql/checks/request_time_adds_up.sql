-- The parts of a request's end-to-end time add up to it, and none is negative.
-- Grain: one row per request where they do not.  Reads: request_time, requests.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW request_time_adds_up AS
WITH
    added AS (
        SELECT run, request, sum(dur_ns) AS parts_ns, min(dur_ns) AS least_ns
        FROM request_time
        GROUP BY run, request
    )
SELECT
    requests.run,
    requests.request,
    requests.finish_ns - requests.arrival_ns AS e2e_ns,
    added.parts_ns,
    added.least_ns
FROM requests
LEFT JOIN added USING (run, request)
WHERE
    requests.outcome = 'served'
    AND (
        added.parts_ns IS DISTINCT FROM requests.finish_ns - requests.arrival_ns
        OR added.least_ns < 0
    );
