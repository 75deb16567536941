-- How far each variant's metrics are from the first's, replication by replication.
-- Grain: one row per family of replications after the first (`run` is its first) and metric.
-- Reads: replications, metrics, t_quantiles.
-- Units: in the metric's name.
-- Definition: differences are paired: replications of one number served the same requests in both, so
-- that what the seed does to both cancels out (common random numbers).  `half_width` is t s / sqrt(n)
-- of the n differences, at the first family's confidence.  `clear`: the interval from `low` to `high`
-- leaves 0 out.  Left out where fewer than two replications pair up.
CREATE OR REPLACE VIEW replication_differences AS
WITH
    families AS (
        SELECT family, min(ordinal) AS ordinal, min_by(run, number) AS run
        FROM replications
        GROUP BY family
    ),
    base AS (
        SELECT
            families.family,
            families.run AS base_run,
            replications.number,
            metrics.rank,
            metrics.value
        FROM families
        JOIN replications USING (family)
        JOIN metrics ON metrics.run = replications.run
        WHERE families.ordinal = (SELECT min(ordinal) FROM families)
    ),
    pairs AS (
        SELECT
            families.run,
            base.base_run,
            base.family AS base_family,
            metrics.rank,
            metrics.metric,
            metrics.better,
            replications.number,
            base.value AS base_value,
            metrics.value - base.value AS difference
        FROM families
        JOIN replications USING (family)
        JOIN metrics ON metrics.run = replications.run
        JOIN base ON base.number = replications.number AND base.rank = metrics.rank
        WHERE families.family <> base.family AND metrics.value - base.value IS NOT NULL
    ),
    spread AS (
        SELECT
            run,
            base_run,
            base_family,
            rank,
            metric,
            any_value(better) AS better,
            count(*) AS pairs,
            avg(base_value ORDER BY number) AS base_mean,
            avg(difference ORDER BY number) AS difference,
            stddev_samp(difference ORDER BY number) AS deviation
        FROM pairs
        GROUP BY run, base_run, base_family, rank, metric
        HAVING count(*) > 1
    ),
    intervals AS (
        SELECT
            spread.*,
            t_quantiles.confidence,
            t_quantiles.quantile * spread.deviation / sqrt(spread.pairs) AS half_width
        FROM spread
        JOIN t_quantiles
            ON t_quantiles.family = spread.base_family AND t_quantiles.degrees = spread.pairs - 1
    )
SELECT
    run,
    base_run,
    rank,
    metric,
    better,
    pairs,
    confidence,
    base_mean,
    difference,
    half_width,
    difference - half_width AS low,
    difference + half_width AS high,
    difference - half_width > 0 OR difference + half_width < 0 AS clear
FROM intervals
ORDER BY run, rank;
