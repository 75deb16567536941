-- Every metric of each side of a comparison beside the first side's.
-- Grain: one row per side (`run` is its first run) and metric.  Reads: metrics, sides.
-- Units: in the metric's name.
-- Definition: a side's value is the mean over its runs (one for each seed); difference = value -
-- base_value, ratio = value / base_value.  A metric that only some sides have is NULL for the
-- others, one that none has is left out.
CREATE OR REPLACE VIEW metric_changes AS
WITH
    known AS (
        SELECT
            sides.side,
            metrics.rank,
            count(metrics.value) AS runs,
            avg(metrics.value ORDER BY sides.ordinal) AS value
        FROM metrics
        JOIN sides USING (run)
        GROUP BY sides.side, metrics.rank
    ),
    every_side AS (
        SELECT side, min_by(run, ordinal) AS run
        FROM sides
        GROUP BY side
    ),
    every_metric AS (
        SELECT rank, metric, any_value(better) AS better
        FROM metrics
        GROUP BY rank, metric
        HAVING count(value) > 0
    )
SELECT
    every_side.run,
    every_side.side,
    every_metric.rank,
    every_metric.metric,
    every_metric.better,
    coalesce(known.runs, 0) AS runs,
    base.value AS base_value,
    known.value,
    known.value - base.value AS difference,
    known.value / nullif(base.value, 0) AS ratio
FROM every_side
CROSS JOIN every_metric
LEFT JOIN known ON known.side = every_side.side AND known.rank = every_metric.rank
LEFT JOIN known AS base ON base.side = 0 AND base.rank = every_metric.rank
ORDER BY every_side.side, every_metric.rank;
