-- What all stages together did with the makespan.
-- Grain: one row per run.  Reads: stage_time.
-- Units: shares of stages x makespan.
-- Definition: parts as in stage_time; `empty_share` is `waiting` and `finished`; `bubble_share` is NULL
-- where a pause of any stage is unexplained (part `idle`).
CREATE OR REPLACE VIEW stage_shares AS
SELECT
    run,
    sum(dur_ns) FILTER (part IN ('prefill', 'decode', 'mixed', 'other')) / nullif(sum(dur_ns), 0)
        AS utilisation,
    CASE WHEN sum(dur_ns) FILTER (part = 'idle') = 0 THEN
        sum(dur_ns) FILTER (part = 'bubble') / nullif(sum(dur_ns), 0)
    END AS bubble_share,
    sum(dur_ns) FILTER (part IN ('waiting', 'finished')) / nullif(sum(dur_ns), 0) AS empty_share
FROM stage_time
GROUP BY run;
