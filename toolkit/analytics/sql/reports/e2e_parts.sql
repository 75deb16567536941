-- Where the end-to-end time of the requests went, on average.
-- Grain: one row per run and part.  Reads: request_time, requests.
-- Units: seconds per request; the parts of a run add up to its mean e2e.
-- Definition: parts as in request_time; each entry counts `size` times.
CREATE OR REPLACE VIEW e2e_parts AS
WITH
    served AS (
        SELECT run, sum(size) AS requests
        FROM requests
        WHERE outcome = 'served' AND arrival_ns IS NOT NULL AND finish_ns IS NOT NULL
        GROUP BY run
    ),
    parts AS (
        SELECT request_time.run, request_time.part, sum(request_time.dur_ns * requests.size) AS dur_ns
        FROM request_time
        JOIN requests USING (run, request)
        GROUP BY request_time.run, request_time.part
    )
SELECT
    parts.run,
    parts.part,
    parts.dur_ns / served.requests / 1e9 AS mean_s,
    parts.dur_ns / nullif(sum(parts.dur_ns) OVER (PARTITION BY parts.run), 0) AS share
FROM parts
JOIN served USING (run);
