-- How much each machine's stage had worked before each of its spans: the area under its work.
-- Complete at trace level `full` only.
-- Grain: one row per span of depth 0 on a stage.  Reads: spans.
-- Units: nanoseconds; `before_ns` is the work of all earlier spans of the machine.
CREATE OR REPLACE VIEW stage_work_so_far AS
SELECT
    run,
    machine,
    ts_ns,
    dur_ns,
    coalesce(
        sum(dur_ns) OVER (
            PARTITION BY run, machine ORDER BY ts_ns
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ),
        0
    )::BIGINT AS before_ns
FROM spans
WHERE track_kind = 'stage' AND depth = 0;
