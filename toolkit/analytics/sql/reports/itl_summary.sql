-- The spread of inter-token latency over all output tokens after the first.
-- Grain: one row per run and statistic: min, mean, max and the percentiles of [report].
-- Empty at trace level `requests`.
-- Reads: itl, runs, warm_up_requests.
-- Units: seconds; `percentile` is NULL for min, mean and max.
-- Definition: each token of each request that arrived after the warm-up counts once.  Percentiles by linear interpolation as in
-- latency_percentiles.
CREATE OR REPLACE VIEW itl_summary AS
WITH
    distinct_gaps AS (
        SELECT run, gap_ns, sum(size)::BIGINT AS tokens
        FROM itl
        ANTI JOIN warm_up_requests USING (run, request)
        GROUP BY run, gap_ns
    ),
    placed AS (
        SELECT
            run,
            gap_ns,
            tokens,
            sum(tokens) OVER (PARTITION BY run ORDER BY gap_ns ROWS UNBOUNDED PRECEDING)::BIGINT
                AS upto
        FROM distinct_gaps
    ),
    counted AS (
        SELECT
            run,
            sum(tokens)::BIGINT AS tokens,
            min(gap_ns) AS min_ns,
            sum(gap_ns * tokens) / sum(tokens) AS mean_ns,
            max(gap_ns) AS max_ns
        FROM distinct_gaps
        GROUP BY run
    ),
    asked AS (
        SELECT run, unnest(list_distinct(list_append(percentiles, 50.0))) AS percentile
        FROM runs
    ),
    found AS (
        SELECT
            counted.run,
            asked.percentile,
            any_value((counted.tokens - 1) * asked.percentile / 100) AS place,
            min(placed.gap_ns) FILTER (
                placed.upto > floor((counted.tokens - 1) * asked.percentile / 100)
            ) AS low_ns,
            min(placed.gap_ns) FILTER (
                placed.upto > ceil((counted.tokens - 1) * asked.percentile / 100)
            ) AS high_ns
        FROM counted
        JOIN asked USING (run)
        JOIN placed USING (run)
        GROUP BY counted.run, asked.percentile
    ),
    listed AS (
        SELECT
            run,
            'p' || format('{:g}', percentile) AS statistic,
            percentile,
            low_ns + (high_ns - low_ns) * (place - floor(place)) AS value_ns
        FROM found
        UNION ALL
        SELECT counted.run, plain.statistic, NULL, plain.value_ns
        FROM counted
        CROSS JOIN LATERAL (
            VALUES ('min', min_ns), ('mean', mean_ns), ('max', max_ns)
        ) AS plain (statistic, value_ns)
    )
SELECT
    listed.run,
    listed.statistic,
    listed.percentile,
    listed.value_ns / 1e9 AS value_s,
    counted.tokens
FROM listed
JOIN counted USING (run)
ORDER BY listed.run, listed.value_ns, listed.statistic;
