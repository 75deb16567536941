-- The work done for each request of an engine, from spans.  Complete at trace level `full` only.
-- Grain: one row per served request of a run with continuous batching.
-- Reads: runs, requests, tracks, spans, waits.
-- Units: nanoseconds.
-- Definition: a request is in every step of its replica between its start and its finish, save
-- those it waits through (its waits begin and end with steps): the busy time of the replica's
-- stage in between, less those waits.
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
    entry AS (
        SELECT requests.run, requests.request, requests.replica, start_ns, finish_ns
        FROM requests
        JOIN runs USING (run)
        WHERE runs.batching = 'continuous' AND requests.outcome = 'served'
    ),
    waited AS (
        SELECT entry.run, entry.request, sum(waits.wait_ns)::BIGINT AS waited_ns
        FROM entry
        JOIN waits USING (run, request)
        WHERE waits.from_ns >= entry.start_ns
        GROUP BY entry.run, entry.request
    ),
    begun AS (
        SELECT entry.*, coalesce(so_far.busy_ns, 0) AS before_ns
        FROM entry
        ASOF LEFT JOIN so_far
            ON so_far.run = entry.run
            AND so_far.replica = entry.replica
            AND so_far.end_ns <= entry.start_ns
    )
SELECT
    begun.run,
    begun.request,
    coalesce(so_far.busy_ns, 0) - begun.before_ns - coalesce(waited.waited_ns, 0) AS work_ns
FROM begun
ASOF LEFT JOIN so_far
    ON so_far.run = begun.run
    AND so_far.replica = begun.replica
    AND so_far.end_ns <= begun.finish_ns
LEFT JOIN waited ON waited.run = begun.run AND waited.request = begun.request;
