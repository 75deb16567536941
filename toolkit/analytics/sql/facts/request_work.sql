-- The work done for each request, from spans.  Complete at trace level `full` only.
-- Grain: one row per served entry.  Reads: requests, spans, runs, engine_request_work.
-- Units: nanoseconds.
-- Definition: stage and activation spans of its microbatch that end by its own finish, those that a
-- failure undid among them; with
-- continuous batching as engine_request_work says.
CREATE OR REPLACE VIEW request_work AS
WITH
    batches AS (
        SELECT
            run,
            lead,
            list(DISTINCT finish_ns ORDER BY finish_ns) AS finishes_ns
        FROM requests
        WHERE outcome = 'served'
        GROUP BY run, lead
    ),
    -- Spans by the finishes between which they end: added up in one pass, nothing is sorted.
    between_finishes AS (
        SELECT
            batches.run,
            batches.lead,
            CASE
                WHEN len(batches.finishes_ns) = 1 THEN
                    CASE WHEN spans.end_ns <= batches.finishes_ns[1] THEN 1 ELSE 2 END
                ELSE 1 + len(list_filter(batches.finishes_ns, lambda it: it < spans.end_ns))
            END AS place,
            any_value(batches.finishes_ns) AS finishes_ns,
            sum(spans.dur_ns)::BIGINT AS work_ns
        FROM spans
        JOIN batches ON batches.run = spans.run AND batches.lead = spans.request
        WHERE
            spans.name IN ('prefill', 'decode', 'lost', 'activation')
            AND spans.track_kind IN ('stage', 'link')
        GROUP BY batches.run, batches.lead, place
    ),
    so_far AS (
        SELECT
            run,
            lead,
            finishes_ns[place] AS finish_ns,
            sum(work_ns) OVER (
                PARTITION BY run, lead ORDER BY place ROWS UNBOUNDED PRECEDING
            )::BIGINT AS work_ns
        FROM between_finishes
        WHERE place <= len(finishes_ns)
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
    AND so_far.finish_ns <= requests.finish_ns
WHERE requests.outcome = 'served'
UNION ALL
SELECT run, request, work_ns
FROM engine_request_work;
