-- The distribution of each latency as a curve: which share of requests was at most so long.
-- Grain: one row per run, metric and share, in steps of half a percent.  Reads: latency_samples.
-- Units: seconds.
CREATE OR REPLACE VIEW latency_curve AS
WITH
    shares AS (
        SELECT [number / 200 FOR number IN range(201)] AS shares
    ),
    curve AS (
        SELECT
            run,
            metric,
            quantile_cont(value_s, [number / 200 FOR number IN range(201)])
                AS values_s
        FROM latency_samples
        GROUP BY run, metric
    )
SELECT
    curve.run,
    curve.metric,
    unnest(shares.shares) AS share,
    unnest(curve.values_s) AS value_s
FROM curve
CROSS JOIN shares;
