-- Every metric of each side of a comparison beside the first side's.
-- Grain: one row per side (`run` is its first run) and metric.  Reads: metrics, sides.
-- Units: in the metric's name.
-- Definition: a side's value is the mean over its runs (one for each seed); difference = value -
-- base_value, ratio = value / base_value.
CREATE OR REPLACE VIEW metric_changes AS
WITH
    of_sides AS (
        SELECT
            sides.side,
            min_by(sides.run, sides.ordinal) AS run,
            metrics.rank,
            metrics.metric,
            any_value(metrics.better) AS better,
            count(metrics.value) AS runs,
            avg(metrics.value ORDER BY sides.ordinal) AS value
        FROM metrics
        JOIN sides USING (run)
        GROUP BY sides.side, metrics.rank, metrics.metric
    ),
    base AS (
        SELECT rank, value AS base_value
        FROM of_sides
        WHERE side = 0
    )
SELECT
    of_sides.run,
    of_sides.side,
    of_sides.rank,
    of_sides.metric,
    of_sides.better,
    of_sides.runs,
    base.base_value,
    of_sides.value,
    of_sides.value - base.base_value AS difference,
    of_sides.value / nullif(base.base_value, 0) AS ratio
FROM of_sides
LEFT JOIN base USING (rank)
ORDER BY of_sides.side, of_sides.rank;
