-- The work done for each request of an engine, from spans.  Complete at trace level `full` only.
-- Grain: one row per served request of a run with continuous batching.
-- Reads: runs, engine_places, tracks, spans, waits.
-- Units: nanoseconds.
-- Definition: while it is at an engine (engine_places) a request is in every step, save those it
-- waits through (its waits begin and end with steps): the busy time of the engine's stage in
-- between, less those waits.  Where it gave way nobody may have been left: there less the busy time.
CREATE OR REPLACE VIEW engine_request_work AS
WITH
    engine AS (
        SELECT tracks.run, tracks.track, tracks.replica
        FROM tracks
        JOIN runs USING (run)
        WHERE runs.batching = 'continuous' AND tracks.kind = 'stage'
    ),
    so_far AS (
        SELECT
            spans.run,
            engine.replica,
            spans.end_ns,
            sum(spans.dur_ns) OVER (
                PARTITION BY spans.run, spans.track ORDER BY spans.ts_ns
                ROWS UNBOUNDED PRECEDING
            )::BIGINT AS busy_ns
        FROM spans
        JOIN engine USING (run, track)
        WHERE spans.depth = 0
    ),
    missed AS (
        SELECT
            waits.run,
            waits.request,
            engine_places.replica,
            waits.cause,
            waits.from_ns,
            waits.until_ns,
            waits.wait_ns
        FROM engine_places
        JOIN waits USING (run, request)
        WHERE waits.from_ns >= engine_places.from_ns AND waits.from_ns < engine_places.until_ns
    ),
    gave_way AS (
        SELECT missed.*, coalesce(so_far.busy_ns, 0) AS before_ns
        FROM missed
        ASOF LEFT JOIN so_far
            ON so_far.run = missed.run
            AND so_far.replica = missed.replica
            AND so_far.end_ns <= missed.from_ns
        WHERE missed.cause = 'preempted'
    ),
    passed AS (
        SELECT run, request, wait_ns AS busy_ns
        FROM missed
        WHERE cause <> 'preempted'
        UNION ALL
        SELECT gave_way.run, gave_way.request, coalesce(so_far.busy_ns, 0) - gave_way.before_ns
        FROM gave_way
        ASOF LEFT JOIN so_far
            ON so_far.run = gave_way.run
            AND so_far.replica = gave_way.replica
            AND so_far.end_ns <= gave_way.until_ns
    ),
    waited AS (
        SELECT run, request, sum(busy_ns)::BIGINT AS waited_ns
        FROM passed
        GROUP BY run, request
    ),
    begun AS (
        SELECT engine_places.*, coalesce(so_far.busy_ns, 0) AS before_ns
        FROM engine_places
        ASOF LEFT JOIN so_far
            ON so_far.run = engine_places.run
            AND so_far.replica = engine_places.replica
            AND so_far.end_ns <= engine_places.from_ns
    ),
    busy AS (
        SELECT
            begun.run,
            begun.request,
            sum(coalesce(so_far.busy_ns, 0) - begun.before_ns)::BIGINT AS busy_ns
        FROM begun
        ASOF LEFT JOIN so_far
            ON so_far.run = begun.run
            AND so_far.replica = begun.replica
            AND so_far.end_ns <= begun.until_ns
        GROUP BY begun.run, begun.request
    )
SELECT busy.run, busy.request, busy.busy_ns - coalesce(waited.waited_ns, 0) AS work_ns
FROM busy
LEFT JOIN waited USING (run, request);
