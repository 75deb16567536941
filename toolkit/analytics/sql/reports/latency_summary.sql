-- The spread of each latency.
-- Grain: one row per run and metric.  Reads: latency_samples.
-- Units: seconds.
-- Definition: metrics as in request_latency; each request counts once (an entry `size` times), but
-- latency_per_token counts entries.  The median of an even number is the mean of the middle two.
CREATE OR REPLACE VIEW latency_summary AS
SELECT
    run,
    metric,
    count(*) AS samples,
    min(value_s) AS min_s,
    quantile_cont(value_s, 0.5) AS median_s,
    -- In order, so that the same trace gives the same last digit.
    avg(value_s ORDER BY value_s) AS mean_s,
    max(value_s) AS max_s
FROM latency_samples
GROUP BY run, metric;
