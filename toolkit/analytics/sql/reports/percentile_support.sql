-- On how many requests each percentile of a latency rests.
-- Grain: one row per run, metric and percentile of [report].  Reads: latency_samples, runs.
-- Definition: `beyond` is how many samples lie beyond the percentile, n (1 - p / 100), on the side of
-- it that has fewer.  `enough` where there are at least 10, so 1000 for p99: with fewer, the
-- percentile hangs on a handful of requests and another seed moves it.  `needed` is how many samples
-- that takes.  The extremes, 0 and 100, are what they are and need no more than one.
CREATE OR REPLACE VIEW percentile_support AS
WITH
    counted AS (
        SELECT run, metric, count(*) AS samples
        FROM latency_samples
        GROUP BY run, metric
    ),
    asked AS (
        SELECT run, unnest(percentiles) AS percentile
        FROM runs
    )
SELECT
    counted.run,
    counted.metric,
    asked.percentile,
    counted.samples,
    counted.samples * least(asked.percentile, 100 - asked.percentile) / 100 AS beyond,
    -- Rounded before it is compared: 1000 x (100 - 99.9) is a hair below 100 in binary.
    CASE WHEN asked.percentile IN (0, 100) THEN 1
    ELSE ceil(round(1000 / least(asked.percentile, 100 - asked.percentile), 6))::BIGINT END
        AS needed,
    counted.samples >= CASE WHEN asked.percentile IN (0, 100) THEN 1
    ELSE ceil(round(1000 / least(asked.percentile, 100 - asked.percentile), 6))::BIGINT END
        AS enough
FROM counted
JOIN asked USING (run)
ORDER BY counted.run, counted.metric, asked.percentile;
