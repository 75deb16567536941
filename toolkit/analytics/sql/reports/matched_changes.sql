-- How the same requests fared in two runs: the distribution of their differences.
-- Grain: one row per run that is not its own base, and metric.
-- Reads: sides, run_totals, matched_requests.
-- Units: seconds; negative is faster than in the base run.
-- Definition: matched as in matched_requests; `requests` and `base_requests` are how many there were;
-- quantiles by linear interpolation, each request counting once.
CREATE OR REPLACE VIEW matched_changes AS
WITH
    differences AS (
        SELECT run, metric, count, difference_ns / 1e9 AS difference_s
        FROM matched_requests
        CROSS JOIN LATERAL (
            VALUES ('ttft', ttft_ns - base_ttft_ns), ('e2e', e2e_ns - base_e2e_ns)
        ) AS one (metric, difference_ns)
        WHERE run <> base_run
    ),
    each_request AS (
        SELECT run, metric, unnest(repeat([difference_s], count)) AS difference_s
        FROM differences
    ),
    spread AS (
        SELECT
            run,
            metric,
            count(*) AS matched,
            count(*) FILTER (difference_s < 0) AS faster,
            count(*) FILTER (difference_s > 0) AS slower,
            min(difference_s) AS min_s,
            quantile_cont(difference_s, [0.05, 0.25, 0.5, 0.75, 0.95]) AS at_s,
            avg(difference_s ORDER BY difference_s) AS mean_s,
            max(difference_s) AS max_s
        FROM each_request
        GROUP BY run, metric
    )
SELECT
    sides.run,
    sides.base_run,
    metric.metric,
    coalesce(spread.matched, 0) AS matched,
    totals.requests,
    base_totals.requests AS base_requests,
    coalesce(spread.faster, 0) AS faster,
    coalesce(spread.slower, 0) AS slower,
    spread.min_s,
    spread.at_s[1] AS p5_s,
    spread.at_s[2] AS p25_s,
    spread.at_s[3] AS median_s,
    spread.mean_s,
    spread.at_s[4] AS p75_s,
    spread.at_s[5] AS p95_s,
    spread.max_s
FROM sides
JOIN run_totals AS totals ON totals.run = sides.run
JOIN run_totals AS base_totals ON base_totals.run = sides.base_run
CROSS JOIN (VALUES ('ttft'), ('e2e')) AS metric (metric)
LEFT JOIN spread ON spread.run = sides.run AND spread.metric = metric.metric
WHERE sides.run <> sides.base_run
ORDER BY sides.run, metric.metric DESC;
