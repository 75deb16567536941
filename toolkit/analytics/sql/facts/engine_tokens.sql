-- When an engine had each output token of a request after the first.  Empty at trace level `requests`.
-- Grain: one row per served request of a run with continuous batching, and token after the first.
-- Reads: runs, requests, tracks, spans, waits, first_token.
-- Units: nanoseconds since the start of the simulation; `token` counts from 0, the first token.
-- Definition: from its first token (its first decode, where it was handed over) to its finish a
-- request gets a token at the end of every step of its engine, save those it waits through; computing anew what it gave up is waiting (`preempted`).
CREATE OR REPLACE VIEW engine_tokens AS
WITH
    steps AS (
        SELECT
            spans.run,
            tracks.replica,
            spans.ts_ns,
            spans.end_ns,
            row_number() OVER (PARTITION BY spans.run, spans.track ORDER BY spans.ts_ns) AS number
        FROM spans
        JOIN runs USING (run)
        JOIN tracks USING (run, track)
        WHERE runs.batching = 'continuous' AND tracks.kind = 'stage' AND spans.depth = 0
    ),
    entry AS (
        SELECT
            requests.run,
            requests.request,
            requests.replica,
            coalesce(requests.prompt_replica <> requests.replica, false) AS moved,
            requests.decode_start_ns,
            first_token.first_token_ns,
            requests.finish_ns
        FROM requests
        JOIN runs USING (run)
        JOIN first_token USING (run, request)
        WHERE runs.batching = 'continuous' AND runs.level <> 'requests'
    ),
    -- Numbers, not times, lead from a request to its steps: nothing is searched for.
    stays AS (
        SELECT
            entry.run,
            entry.request,
            entry.replica,
            first_step.number + CASE entry.moved WHEN true THEN 0 ELSE 1 END AS first_number,
            last_step.number AS last_number
        FROM entry
        JOIN steps AS first_step
            ON first_step.run = entry.run
            AND first_step.replica = entry.replica
            AND CASE entry.moved WHEN true THEN first_step.ts_ns = entry.decode_start_ns
                ELSE first_step.end_ns = entry.first_token_ns END
        JOIN steps AS last_step
            ON last_step.run = entry.run
            AND last_step.replica = entry.replica
            AND last_step.end_ns = entry.finish_ns
    ),
    numbered AS (
        SELECT run, request, replica, unnest(range(first_number, last_number + 1)) AS number
        FROM stays
    ),
    missed AS (
        SELECT waits.run, waits.request, waits.from_ns, waits.until_ns
        FROM waits
        JOIN entry USING (run, request)
        WHERE waits.from_ns >= entry.first_token_ns
    ),
    present AS (
        SELECT
            numbered.run,
            numbered.request,
            numbered.number,
            steps.end_ns,
            missed.until_ns
        FROM numbered
        JOIN steps USING (run, replica, number)
        ASOF LEFT JOIN missed
            ON missed.run = numbered.run
            AND missed.request = numbered.request
            AND missed.from_ns <= steps.ts_ns
    )
SELECT
    run,
    request,
    row_number() OVER (PARTITION BY run, request ORDER BY number) AS token,
    end_ns
FROM present
WHERE until_ns IS NULL OR until_ns < end_ns;
