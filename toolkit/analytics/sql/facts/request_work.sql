-- The work done for each request, from spans.  Complete at trace level `full` only.
-- Grain: one row per served entry.  Reads: requests, spans, runs, engine_request_work.
-- Units: nanoseconds.
-- Definition: stage and activation spans of its microbatch that end by its own finish; with
-- continuous batching as engine_request_work says.
CREATE OR REPLACE VIEW request_work AS
WITH
    so_far AS (
        SELECT
            spans.run,
            spans.request AS lead,
            spans.end_ns,
            sum(spans.dur_ns) OVER (
                PARTITION BY spans.run, spans.request ORDER BY spans.end_ns
                RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            )::BIGINT AS work_ns
        FROM spans
        JOIN runs ON runs.run = spans.run AND runs.batching = 'microbatch'
        WHERE
            spans.name IN ('prefill', 'decode', 'activation')
            AND spans.track_kind IN ('stage', 'link')
    )
SELECT
    requests.run,
    requests.request,
    coalesce(so_far.work_ns, 0) AS work_ns
FROM requests
JOIN runs ON runs.run = requests.run AND runs.batching = 'microbatch'
ASOF LEFT JOIN so_far
    ON so_far.run = requests.run
    AND so_far.lead = requests.lead
    AND so_far.end_ns <= requests.finish_ns
WHERE requests.outcome = 'served'
UNION ALL
SELECT run, request, work_ns
FROM engine_request_work;
