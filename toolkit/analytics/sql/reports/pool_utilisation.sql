-- What the stages of each role did with the makespan.
-- Grain: one row per run and role.  Reads: stage_time.
-- Units: shares of the role's stage time (stages x makespan).
CREATE OR REPLACE VIEW pool_utilisation AS
SELECT
    run,
    role,
    count(DISTINCT track) AS stages,
    sum(dur_ns) FILTER (part = 'prefill') / nullif(sum(dur_ns), 0) AS prefill_share,
    sum(dur_ns) FILTER (part = 'decode') / nullif(sum(dur_ns), 0) AS decode_share,
    sum(dur_ns) FILTER (part = 'mixed') / nullif(sum(dur_ns), 0) AS mixed_share,
    sum(dur_ns) FILTER (part = 'other') / nullif(sum(dur_ns), 0) AS other_share,
    coalesce(sum(dur_ns) FILTER (part = 'lost'), 0) / nullif(sum(dur_ns), 0) AS lost_share,
    sum(dur_ns) FILTER (part = 'bubble') / nullif(sum(dur_ns), 0) AS bubble_share,
    sum(dur_ns) FILTER (part = 'waiting') / nullif(sum(dur_ns), 0) AS waiting_share,
    sum(dur_ns) FILTER (part = 'finished') / nullif(sum(dur_ns), 0) AS finished_share,
    sum(dur_ns) FILTER (part = 'idle') / nullif(sum(dur_ns), 0) AS idle_share,
    sum(dur_ns) FILTER (part IN ('prefill', 'decode', 'mixed', 'other')) / nullif(sum(dur_ns), 0)
        AS utilisation
FROM stage_time
GROUP BY run, role
ORDER BY run, role;
