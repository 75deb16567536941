-- The life of each request, piece by piece: what it waited for and when it was worked on.
-- Grain: one row per served entry and uninterrupted piece; those of an entry lie end to end from its
-- arrival to its finish.  Reads: runs, requests, request_waits.
-- Units: nanoseconds since the start of the simulation; nanoseconds.
-- Definition: what is no wait is work, `prefill` up to the prompt's end on its last stage and
-- `decode` after it, the hand-over of activations between stages included.  Empty at trace level
-- `requests`, where waits are sums, and of imported runs, which do not say all that was waited for.
CREATE OR REPLACE VIEW request_pieces AS
WITH
    whole AS (
        SELECT
            requests.run,
            requests.request,
            requests.arrival_ns,
            coalesce(requests.prefill_end_ns, requests.finish_ns) AS prefill_end_ns,
            requests.finish_ns
        FROM requests
        JOIN runs USING (run)
        WHERE
            requests.outcome = 'served'
            AND runs.level <> 'requests'
            AND runs.source IS NULL
    ),
    -- Waits, and the moments at which work begins to be something else, in order of time.
    edges AS (
        SELECT
            request_waits.run,
            request,
            cause,
            on_request,
            on_track,
            from_ns,
            until_ns
        FROM request_waits
        JOIN runs USING (run)
        WHERE runs.level <> 'requests' AND runs.source IS NULL
        UNION ALL
        SELECT run, request, NULL, NULL, NULL, moment.at_ns, moment.at_ns
        FROM whole
        CROSS JOIN LATERAL (
            VALUES (arrival_ns), (least(prefill_end_ns, finish_ns)), (finish_ns)
        ) AS moment (at_ns)
    ),
    spaced AS (
        SELECT
            *,
            max(until_ns) OVER (
                PARTITION BY run, request ORDER BY from_ns, until_ns
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS before_ns
        FROM edges
    )
SELECT
    run,
    request,
    cause AS part,
    on_request,
    on_track,
    from_ns,
    until_ns,
    until_ns - from_ns AS dur_ns
FROM spaced
WHERE cause IS NOT NULL
UNION ALL
SELECT
    spaced.run,
    spaced.request,
    CASE WHEN spaced.from_ns <= whole.prefill_end_ns THEN 'prefill' ELSE 'decode' END,
    NULL,
    NULL,
    spaced.before_ns,
    spaced.from_ns,
    spaced.from_ns - spaced.before_ns
FROM spaced
JOIN whole USING (run, request)
WHERE spaced.from_ns > spaced.before_ns;
