-- A request that an engine has started waits for whole steps: such a wait begins as a step begins
-- and ends as one ends, or as its client gives it up.  Trace level `full` only.
-- Grain: one row per wait that does not.  Reads: runs, requests, tracks, waits, spans.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW engine_waits_are_steps AS
WITH
    after_start AS (
        SELECT
            waits.run,
            waits.request,
            waits.cause,
            waits.from_ns,
            waits.until_ns,
            waits.until_ns = requests.given_up_ns AS given_up,
            tracks.track
        FROM waits
        JOIN runs USING (run)
        JOIN requests USING (run, request)
        JOIN tracks
            ON tracks.run = requests.run
            AND tracks.replica = requests.replica
            AND tracks.kind = 'stage'
        WHERE
            runs.batching = 'continuous'
            AND runs.level = 'full'
            AND waits.from_ns >= requests.start_ns
    )
SELECT
    after_start.run,
    after_start.request,
    after_start.cause,
    after_start.from_ns,
    after_start.until_ns
FROM after_start
LEFT JOIN spans AS first_step
    ON first_step.run = after_start.run
    AND first_step.track = after_start.track
    AND first_step.ts_ns = after_start.from_ns
LEFT JOIN spans AS last_step
    ON last_step.run = after_start.run
    AND last_step.track = after_start.track
    AND last_step.end_ns = after_start.until_ns
WHERE
    first_step.run IS NULL
    OR (last_step.run IS NULL AND after_start.given_up IS NOT TRUE);
