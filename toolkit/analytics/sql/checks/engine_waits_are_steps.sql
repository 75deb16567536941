-- A request that an engine has started waits for whole steps: such a wait begins as a step begins
-- and ends as one ends; one that gave way, as one ends and as one begins.  Trace level `full` only.
-- Grain: one row per wait that does not.  Reads: runs, engine_places, waits, spans.
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
            engine_places.track
        FROM waits
        JOIN runs USING (run)
        JOIN engine_places
            ON engine_places.run = waits.run
            AND engine_places.request = waits.request
            AND waits.from_ns >= engine_places.from_ns
            AND waits.from_ns < engine_places.until_ns
        WHERE runs.level = 'full'
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
-- Nobody may be left at the engine: then it stands still until there is room.
LEFT JOIN spans AS step_before
    ON step_before.run = after_start.run
    AND step_before.track = after_start.track
    AND step_before.end_ns = after_start.from_ns
    AND after_start.cause = 'preempted'
LEFT JOIN spans AS step_after
    ON step_after.run = after_start.run
    AND step_after.track = after_start.track
    AND step_after.ts_ns = after_start.until_ns
    AND after_start.cause = 'preempted'
WHERE
    coalesce(first_step.run, step_before.run) IS NULL
    OR coalesce(last_step.run, step_after.run) IS NULL;
