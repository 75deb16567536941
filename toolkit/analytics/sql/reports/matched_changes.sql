-- How the same requests fared on two sides of a comparison: the distribution of their differences.
-- Grain: one row per side but the first (`run` is its first run) and metric.
-- Reads: sides, run_totals, matched_requests.
-- Units: seconds; negative is faster than on the first side.
-- Definition: matched as in matched_requests, each run of a side with its base run; `requests` and
-- `base_requests` are how many there were; quantiles by linear interpolation, each request once.
CREATE OR REPLACE VIEW matched_changes AS
WITH
    differences AS (
        SELECT sides.side, one.metric, matched_requests.count, one.difference_ns / 1e9 AS difference_s
        FROM matched_requests
        JOIN sides USING (run)
        CROSS JOIN LATERAL (
            VALUES
                ('ttft', matched_requests.ttft_ns - matched_requests.base_ttft_ns),
                ('e2e', matched_requests.e2e_ns - matched_requests.base_e2e_ns)
        ) AS one (metric, difference_ns)
        WHERE sides.side > 0
    ),
    each_request AS (
        SELECT side, metric, unnest(repeat([difference_s], count)) AS difference_s
        FROM differences
    ),
    spread AS (
        SELECT
            side,
            metric,
            count(*) AS matched,
            count(*) FILTER (difference_s < 0) AS faster,
            count(*) FILTER (difference_s > 0) AS slower,
            min(difference_s) AS min_s,
            quantile_cont(difference_s, [0.05, 0.25, 0.5, 0.75, 0.95]) AS at_s,
            avg(difference_s ORDER BY difference_s) AS mean_s,
            max(difference_s) AS max_s
        FROM each_request
        GROUP BY side, metric
    ),
    served AS (
        SELECT
            sides.side,
            min_by(sides.run, sides.ordinal) AS run,
            sum(totals.requests)::BIGINT AS requests,
            sum(base_totals.requests)::BIGINT AS base_requests
        FROM sides
        JOIN run_totals AS totals ON totals.run = sides.run
        JOIN run_totals AS base_totals ON base_totals.run = sides.base_run
        WHERE sides.side > 0
        GROUP BY sides.side
    )
SELECT
    served.run,
    served.side,
    measured.metric,
    coalesce(spread.matched, 0) AS matched,
    served.requests,
    served.base_requests,
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
FROM served
CROSS JOIN (VALUES ('ttft'), ('e2e')) AS measured (metric)
LEFT JOIN spread ON spread.side = served.side AND spread.metric = measured.metric
ORDER BY served.side, measured.metric DESC;
