-- When something happened that may change why a stage stands still: its pipeline filled or emptied,
-- a microbatch that it works for had waited for the last time, it was passed over.
-- Grain: one row per stage and moment.  Reads: pipeline_load, tracks, waits, spans.
-- Units: nanoseconds; `lack` is that of the stage's pipeline from then on (pipeline_load).
CREATE OR REPLACE VIEW pause_moments AS
WITH
    worked_for AS (
        SELECT DISTINCT run, track, request
        FROM spans
        WHERE track_kind = 'stage' AND depth = 0
    ),
    happened AS (
        SELECT tracks.run, tracks.track, pipeline_load.from_ns AS at_ns, pipeline_load.lack
        FROM pipeline_load
        JOIN tracks USING (run, role, replica)
        WHERE tracks.kind = 'stage'
        UNION ALL
        SELECT waits.run, worked_for.track, waits.until_ns, NULL
        FROM waits
        JOIN worked_for USING (run, request)
        UNION ALL
        SELECT run, on_track, until_ns, NULL
        FROM waits
        WHERE cause = 'head_of_line'
    ),
    moments AS (
        SELECT run, track, at_ns, any_value(lack) AS lack
        FROM happened
        GROUP BY run, track, at_ns
    )
SELECT
    run,
    track,
    at_ns,
    last_value(lack IGNORE NULLS) OVER (PARTITION BY run, track ORDER BY at_ns) AS lack
FROM moments;
