-- The percentiles of each latency that the scenario's [report] asks for.
-- Grain: one row per run, metric and percentile.  Reads: latency_samples, runs.
-- Units: seconds.
-- Definition: linear interpolation between order statistics: the p-th percentile of n sorted values
-- lies at place (n - 1) p / 100, counted from 0 (numpy's default, Hyndman and Fan's type 7,
-- DuckDB's quantile_cont).  Each request counts once; for latency_per_token each entry.
CREATE OR REPLACE VIEW latency_percentiles AS
WITH
    asked AS (
        SELECT run, unnest(percentiles) AS percentile
        FROM runs
    ),
    ordered AS (
        SELECT
            run,
            metric,
            value_s,
            lead(value_s, 1, value_s) OVER sorted AS next_s,
            row_number() OVER sorted - 1 AS place,
            count(*) OVER (PARTITION BY run, metric) - 1 AS last_place
        FROM latency_samples
        WINDOW sorted AS (PARTITION BY run, metric ORDER BY value_s)
    )
SELECT
    ordered.run,
    ordered.metric,
    asked.percentile,
    value_s + (next_s - value_s) * (last_place * percentile / 100 - place) AS value_s
FROM ordered
JOIN asked
    ON asked.run = ordered.run
    AND ordered.place = floor(ordered.last_place * asked.percentile / 100)
ORDER BY ordered.run, ordered.metric, asked.percentile;
