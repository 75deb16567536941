-- Every figure of a run under one name: what assertions, sweeps and comparisons call it.
-- Grain: one row per run and metric, in the order of `rank`, which is the same for all runs.
-- Reads: throughput, highest_bound, stage_shares, cost, goodput, prefix_cache,
-- latency_samples, runs.
-- Units: said by the end of the name: _s, _ms, _per_s, _usd; shares and counts have none.  `better`
-- says which way is better, NULL for what is only a quantity.
-- Definition: latencies as in latency_summary, each with min, mean, max and percentiles (50, 90, 95,
-- 99 and those of [report]) by linear interpolation.  NULL where a run has no such figure; a latency
-- that no request has is left out.
CREATE OR REPLACE VIEW metrics AS
WITH
    plain AS (
        SELECT runs.run, figure.rank, figure.metric, figure.better, figure.value
        FROM runs
        LEFT JOIN throughput USING (run)
        LEFT JOIN highest_bound USING (run)
        LEFT JOIN stage_shares USING (run)
        LEFT JOIN cost USING (run)
        LEFT JOIN goodput USING (run)
        LEFT JOIN prefix_cache USING (run)
        CROSS JOIN LATERAL (
            VALUES
                (0, 'makespan_s', 'less', throughput.makespan_s),
                (1, 'entries', NULL, throughput.entries::DOUBLE),
                (2, 'requests', NULL, throughput.requests::DOUBLE),
                (3, 'prompt_tokens', NULL, throughput.prompt_tokens::DOUBLE),
                (4, 'output_tokens', NULL, throughput.output_tokens::DOUBLE),
                (5, 'entries_per_s', 'more', throughput.entries_per_s),
                (6, 'requests_per_s', 'more', throughput.requests_per_s),
                (7, 'output_tokens_per_s', 'more', throughput.output_tokens_per_s),
                (8, 'total_tokens_per_s', 'more', throughput.total_tokens_per_s),
                (9, 'mean_requests_in_system', NULL, throughput.mean_requests_in_system),
                (10, 'least_makespan_s', NULL, highest_bound.least_makespan_s),
                (11, 'most_requests_per_s', NULL, highest_bound.most_requests_per_s),
                (12, 'utilisation', 'more', stage_shares.utilisation),
                (13, 'bubble_share', 'less', stage_shares.bubble_share),
                (14, 'empty_share', 'less', stage_shares.empty_share),
                (15, 'machine_hours', 'less', cost.machine_hours),
                (16, 'cost_usd', 'less', cost.cost_usd),
                (17, 'usd_per_1000_requests', 'less', cost.usd_per_1000_requests),
                (18, 'usd_per_million_input_tokens', 'less', cost.usd_per_million_input_tokens),
                (19, 'usd_per_million_output_tokens', 'less', cost.usd_per_million_output_tokens),
                (20, 'machine_hours_per_1000_requests', 'less', cost.machine_hours_per_1000_requests),
                (21, 'goodput_per_s', 'more', goodput.goodput_per_s),
                (22, 'slo_attainment', 'more', goodput.attainment),
                (23, 'prefix_hit_rate', 'more', prefix_cache.hit_rate)
        ) AS figure (rank, metric, better, value)
    ),
    sorted AS (
        SELECT run, metric, list(value_s ORDER BY value_s) AS values_s
        FROM latency_samples
        GROUP BY run, metric
    ),
    asked AS (
        SELECT
            run,
            unnest(list_sort(list_distinct(list_concat([50.0, 90.0, 95.0, 99.0], percentiles))))
                AS percentile
        FROM runs
    ),
    places AS (
        SELECT
            sorted.run,
            sorted.metric,
            asked.percentile,
            sorted.values_s,
            (len(sorted.values_s) - 1) * asked.percentile / 100 AS place
        FROM sorted
        JOIN asked USING (run)
    ),
    latencies AS (
        SELECT run, metric, 0 AS rank, 'min' AS statistic, values_s[1] AS value_s
        FROM sorted
        UNION ALL
        SELECT run, metric, 1, 'mean', list_avg(values_s)
        FROM sorted
        UNION ALL
        SELECT
            run,
            metric,
            2 + round(percentile * 100),
            'p' || replace(format('{:g}', percentile), '.', '_'),
            values_s[floor(place)::BIGINT + 1]
            + (values_s[ceil(place)::BIGINT + 1] - values_s[floor(place)::BIGINT + 1])
            * (place - floor(place))
        FROM places
        UNION ALL
        SELECT run, metric, 10003, 'max', values_s[-1]
        FROM sorted
    ),
    places_of_latencies AS (
        SELECT *
        FROM (
            VALUES
                (1, 'ttft'),
                (2, 'tpot'),
                (3, 'e2e'),
                (4, 'queueing'),
                (5, 'prefill'),
                (6, 'transfer'),
                (7, 'decode_wait'),
                (8, 'decode'),
                (9, 'latency_per_token')
        ) AS latency (place, metric)
    )
SELECT run, rank::BIGINT AS rank, metric, better, value
FROM plain
UNION ALL
SELECT
    latencies.run,
    (20000 * places_of_latencies.place + latencies.rank)::BIGINT,
    latencies.metric || '_' || latencies.statistic || '_ms',
    'less',
    latencies.value_s * 1e3
FROM latencies
JOIN places_of_latencies USING (metric)
ORDER BY run, rank;
