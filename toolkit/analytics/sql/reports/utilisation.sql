-- What each stage did with the makespan.
-- Grain: one row per stage.  Reads: stage_time, run_totals.
-- Units: seconds; shares of the makespan.
-- Definition: utilisation is work by makespan.  A bubble is a stage idle while there is work in its
-- pipeline; `waiting` and `finished` are a pipeline with nothing in it; `lost` is work that a
-- failure undid, `other` work of another name and `idle` a pause that an imported run does not explain.
CREATE OR REPLACE VIEW utilisation AS
SELECT
    stage_time.run,
    stage_time.track,
    stage_time.stage_name,
    stage_time.machine_name,
    stage_time.role,
    stage_time.replica,
    stage_time.stage,
    sum(dur_ns) FILTER (part = 'prefill') / 1e9 AS prefill_s,
    sum(dur_ns) FILTER (part = 'decode') / 1e9 AS decode_s,
    sum(dur_ns) FILTER (part = 'mixed') / 1e9 AS mixed_s,
    sum(dur_ns) FILTER (part = 'other') / 1e9 AS other_s,
    coalesce(sum(dur_ns) FILTER (part = 'lost'), 0) / 1e9 AS lost_s,
    sum(dur_ns) FILTER (part = 'bubble') / 1e9 AS bubble_s,
    sum(dur_ns) FILTER (part = 'waiting') / 1e9 AS waiting_s,
    sum(dur_ns) FILTER (part = 'finished') / 1e9 AS finished_s,
    sum(dur_ns) FILTER (part = 'idle') / 1e9 AS idle_s,
    any_value(run_totals.makespan_ns) / 1e9 AS makespan_s,
    sum(dur_ns) FILTER (part IN ('prefill', 'decode', 'mixed', 'other'))
        / nullif(any_value(run_totals.makespan_ns), 0) AS utilisation,
    CASE WHEN sum(dur_ns) FILTER (part = 'idle') = 0 THEN
        sum(dur_ns) FILTER (part = 'bubble') / nullif(any_value(run_totals.makespan_ns), 0)
    END AS bubble_share
FROM stage_time
JOIN run_totals USING (run)
GROUP BY
    stage_time.run,
    stage_time.track,
    stage_time.rank,
    stage_time.stage_name,
    stage_time.machine_name,
    stage_time.role,
    stage_time.replica,
    stage_time.stage
ORDER BY stage_time.run, stage_time.rank, stage_time.track;
