-- The work of each stage in order, with the pause before it.  Complete at trace level `full` only.
-- Grain: one row per span of depth 0 on a stage, a machine that is down aside.  Reads: spans.
-- Units: nanoseconds; `gap_ns` since the end of the span before it, or since 0.
CREATE OR REPLACE VIEW stage_occupancy AS
SELECT
    run,
    track,
    track_name,
    machine,
    name,
    request,
    token,
    step,
    ts_ns AS start_ns,
    end_ns,
    dur_ns,
    ts_ns - coalesce(lag(end_ns) OVER in_time, 0)
        AS gap_ns
FROM spans
WHERE track_kind = 'stage' AND depth = 0 AND name NOT IN ('failed', 'starting')
WINDOW in_time AS (PARTITION BY run, track ORDER BY ts_ns, end_ns, step, request);
