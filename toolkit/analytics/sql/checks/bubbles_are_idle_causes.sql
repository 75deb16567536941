-- At trace level `full`, the causes of a stage's idleness with work in its pipeline add up to its
-- bubble, which requests and totals give at every level.
-- Grain: one row per stage where they do not.  Reads: stage_time, idle_cells, runs.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW bubbles_are_idle_causes AS
WITH
    added AS (
        SELECT run, track, sum(dur_ns) FILTER (in_pipeline) AS causes_ns
        FROM idle_cells
        GROUP BY run, track
    )
SELECT
    stage_time.run,
    stage_time.track,
    stage_time.stage_name,
    stage_time.dur_ns AS bubble_ns,
    coalesce(added.causes_ns, 0) AS causes_ns
FROM stage_time
JOIN runs USING (run)
LEFT JOIN added USING (run, track)
WHERE
    runs.level = 'full'
    AND stage_time.part = 'bubble'
    AND stage_time.dur_ns <> coalesce(added.causes_ns, 0);
