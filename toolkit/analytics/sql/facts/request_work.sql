-- The work done for each request, from spans.  Complete at trace level `full` only.
-- Grain: one row per served entry.  Reads: requests, spans.
-- Units: nanoseconds.
-- Definition: stage and activation spans of its microbatch that end by its own finish.
CREATE OR REPLACE VIEW request_work AS
WITH
    so_far AS (
        SELECT
            run,
            request AS lead,
            end_ns,
            sum(dur_ns) OVER (
                PARTITION BY run, request ORDER BY end_ns
                RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            )::BIGINT AS work_ns
        FROM spans
        WHERE name IN ('prefill', 'decode', 'activation') AND track_kind IN ('stage', 'link')
    )
SELECT
    requests.run,
    requests.request,
    coalesce(so_far.work_ns, 0) AS work_ns
FROM requests
ASOF LEFT JOIN so_far
    ON so_far.run = requests.run
    AND so_far.lead = requests.lead
    AND so_far.end_ns <= requests.finish_ns
WHERE requests.outcome = 'served';
