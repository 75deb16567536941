-- Every metric over the replications of a scenario: its mean, and how far seeds let it be trusted.
-- Grain: one row per family of at least two replications (`run` is its first) and metric.
-- Reads: replications, metrics, t_quantiles.
-- Units: in the metric's name.
-- Definition: `half_width` is t s / sqrt(n), with s the sample standard deviation over the n
-- replications and t the quantile of Student's t with n - 1 degrees of freedom at `confidence`; the
-- interval from `low` to `high` is mean -/+ half_width.  It holds where values over seeds are about
-- normal, as means and percentiles of many requests are.  Left out where a replication lacks the
-- metric.
CREATE OR REPLACE VIEW replication_summary AS
WITH
    sizes AS (
        SELECT family, count(*) AS replications, min_by(run, number) AS run
        FROM replications
        GROUP BY family
        HAVING count(*) > 1
    ),
    spread AS (
        SELECT
            sizes.run,
            sizes.family,
            metrics.rank,
            metrics.metric,
            any_value(metrics.better) AS better,
            any_value(sizes.replications) AS replications,
            -- In order, so that the same traces give the same last digit.
            avg(metrics.value ORDER BY replications.number) AS mean,
            stddev_samp(metrics.value ORDER BY replications.number) AS deviation
        FROM replications
        JOIN sizes USING (family)
        JOIN metrics ON metrics.run = replications.run
        GROUP BY sizes.run, sizes.family, metrics.rank, metrics.metric
        HAVING count(metrics.value) = any_value(sizes.replications)
    )
SELECT
    spread.run,
    spread.rank,
    spread.metric,
    spread.better,
    spread.replications,
    t_quantiles.confidence,
    spread.mean,
    spread.deviation,
    t_quantiles.quantile * spread.deviation / sqrt(spread.replications) AS half_width,
    spread.mean - t_quantiles.quantile * spread.deviation / sqrt(spread.replications) AS low,
    spread.mean + t_quantiles.quantile * spread.deviation / sqrt(spread.replications) AS high
FROM spread
JOIN t_quantiles
    ON t_quantiles.family = spread.family AND t_quantiles.degrees = spread.replications - 1
ORDER BY spread.run, spread.rank;
