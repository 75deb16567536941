-- When each stage stood still.  Complete at trace level `full` only.
-- Grain: one row per pause of a stage, before its first and after its last span too.
-- Reads: stage_occupancy, tracks, run_totals.
-- Units: nanoseconds; `next_request` is whom the stage worked for next, NULL after the last.
CREATE OR REPLACE VIEW idle_intervals AS
WITH
    last_work AS (
        SELECT run, track, max(end_ns) AS end_ns
        FROM stage_occupancy
        GROUP BY run, track
    )
SELECT
    run,
    track,
    start_ns - gap_ns AS from_ns,
    start_ns AS until_ns,
    gap_ns AS dur_ns,
    request AS next_request,
    step AS next_step
FROM stage_occupancy
WHERE gap_ns > 0
UNION ALL
SELECT
    tracks.run,
    tracks.track,
    coalesce(last_work.end_ns, 0),
    run_totals.makespan_ns,
    run_totals.makespan_ns - coalesce(last_work.end_ns, 0),
    NULL,
    NULL
FROM tracks
JOIN run_totals USING (run)
LEFT JOIN last_work USING (run, track)
WHERE tracks.kind = 'stage' AND run_totals.makespan_ns > coalesce(last_work.end_ns, 0);
