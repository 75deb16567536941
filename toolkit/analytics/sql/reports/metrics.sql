-- Every figure of a run under one name: what assertions, sweeps and comparisons call it.
-- Grain: one row per run and metric.
-- Reads: throughput, highest_bound, stage_shares, cost, goodput, latency_samples, runs.
-- Units: said by the end of the name: _s, _ms, _per_s, _usd; shares and counts have none.
-- Definition: latencies as in latency_summary, each with min, mean, max and percentiles (50, 90, 95,
-- 99 and those of [report]) by linear interpolation.  NULL where a run has no such figure; a latency
-- that no request has is left out.
CREATE OR REPLACE VIEW metrics AS
WITH
    plain AS (
        SELECT runs.run, figure.rank, figure.metric, figure.value
        FROM runs
        LEFT JOIN throughput USING (run)
        LEFT JOIN highest_bound USING (run)
        LEFT JOIN stage_shares USING (run)
        LEFT JOIN cost USING (run)
        LEFT JOIN goodput USING (run)
        CROSS JOIN LATERAL (
            VALUES
                (0, 'makespan_s', throughput.makespan_s),
                (1, 'entries', throughput.entries::DOUBLE),
                (2, 'requests', throughput.requests::DOUBLE),
                (3, 'prompt_tokens', throughput.prompt_tokens::DOUBLE),
                (4, 'output_tokens', throughput.output_tokens::DOUBLE),
                (5, 'entries_per_s', throughput.entries_per_s),
                (6, 'requests_per_s', throughput.requests_per_s),
                (7, 'output_tokens_per_s', throughput.output_tokens_per_s),
                (8, 'total_tokens_per_s', throughput.total_tokens_per_s),
                (9, 'mean_requests_in_system', throughput.mean_requests_in_system),
                (10, 'least_makespan_s', highest_bound.least_makespan_s),
                (11, 'most_requests_per_s', highest_bound.most_requests_per_s),
                (12, 'utilisation', stage_shares.utilisation),
                (13, 'bubble_share', stage_shares.bubble_share),
                (14, 'empty_share', stage_shares.empty_share),
                (15, 'machine_hours', cost.machine_hours),
                (16, 'cost_usd', cost.cost_usd),
                (17, 'usd_per_1000_requests', cost.usd_per_1000_requests),
                (18, 'usd_per_million_input_tokens', cost.usd_per_million_input_tokens),
                (19, 'usd_per_million_output_tokens', cost.usd_per_million_output_tokens),
                (20, 'machine_hours_per_1000_requests', cost.machine_hours_per_1000_requests),
                (21, 'goodput_per_s', goodput.goodput_per_s),
                (22, 'slo_attainment', goodput.attainment)
        ) AS figure (rank, metric, value)
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
            2 + percentile,
            'p' || replace(format('{:g}', percentile), '.', '_'),
            values_s[floor(place)::BIGINT + 1]
            + (values_s[ceil(place)::BIGINT + 1] - values_s[floor(place)::BIGINT + 1])
            * (place - floor(place))
        FROM places
        UNION ALL
        SELECT run, metric, 200, 'max', values_s[-1]
        FROM sorted
    ),
    together AS (
        SELECT run, '' AS latency, rank, metric, value
        FROM plain
        UNION ALL
        SELECT run, metric, rank, metric || '_' || statistic || '_ms', value_s * 1e3
        FROM latencies
    )
SELECT run, metric, value
FROM together
ORDER BY run, latency, rank;
