-- Every metric of a run, one under the other, by the names that sweeps and `--fail-if` use.
-- Grain: one row per run and metric.
-- Reads: throughput, stage_shares, cost, latency_samples, latency_summary.
-- Units: in the name; shares of stages x makespan; `better` says which way is better, NULL for what
-- is only a quantity.
-- Definition: percentiles by linear interpolation, as in latency_percentiles; latencies as in
-- request_latency.  The rest is as the views it reads say.
CREATE OR REPLACE VIEW metrics AS
WITH
    of_the_run AS (
        SELECT throughput.run, figure.*
        FROM throughput
        LEFT JOIN stage_shares USING (run)
        LEFT JOIN cost USING (run)
        CROSS JOIN LATERAL (
            VALUES
                (0, 'makespan_s', 'less', throughput.makespan_s),
                (1, 'requests', NULL, throughput.requests),
                (2, 'prompt_tokens', NULL, throughput.prompt_tokens),
                (3, 'output_tokens', NULL, throughput.output_tokens),
                (4, 'requests_per_s', 'more', throughput.requests_per_s),
                (5, 'output_tokens_per_s', 'more', throughput.output_tokens_per_s),
                (6, 'total_tokens_per_s', 'more', throughput.total_tokens_per_s),
                (7, 'entries_per_s', 'more', throughput.entries_per_s),
                (8, 'mean_requests_in_system', NULL, throughput.mean_requests_in_system),
                (9, 'utilisation', 'more', stage_shares.utilisation),
                (10, 'bubble_share', 'less', stage_shares.bubble_share),
                (11, 'empty_share', 'less', stage_shares.empty_share),
                (12, 'machine_hours', 'less', cost.machine_hours),
                (13, 'cost_usd', 'less', cost.cost_usd),
                (14, 'usd_per_1000_requests', 'less', cost.usd_per_1000_requests),
                (15, 'usd_per_million_input_tokens', 'less', cost.usd_per_million_input_tokens),
                (16, 'usd_per_million_output_tokens', 'less', cost.usd_per_million_output_tokens)
        ) AS figure (rank, metric, better, value)
    ),
    latencies AS (
        SELECT *
        FROM (
            VALUES
                (0, 'ttft'),
                (1, 'tpot'),
                (2, 'e2e'),
                (3, 'queueing'),
                (4, 'prefill'),
                (5, 'transfer'),
                (6, 'decode_wait'),
                (7, 'decode'),
                (8, 'latency_per_token')
        ) AS latency (place, metric)
    ),
    late AS (
        SELECT run, metric, quantile_cont(value_s, [0.5, 0.9, 0.95, 0.99]) AS at_s
        FROM latency_samples
        GROUP BY run, metric
    ),
    of_latencies AS (
        SELECT
            latency_summary.run,
            100 + 10 * latencies.place + figure.place AS rank,
            format('{}_{}_ms', latency_summary.metric, figure.name) AS metric,
            figure.value_s * 1e3 AS value
        FROM latency_summary
        JOIN late USING (run, metric)
        JOIN latencies USING (metric)
        CROSS JOIN LATERAL (
            VALUES
                (0, 'mean', latency_summary.mean_s),
                (1, 'min', latency_summary.min_s),
                (2, 'p50', late.at_s[1]),
                (3, 'p90', late.at_s[2]),
                (4, 'p95', late.at_s[3]),
                (5, 'p99', late.at_s[4]),
                (6, 'max', latency_summary.max_s)
        ) AS figure (place, name, value_s)
    )
SELECT run, rank, metric, better, value::DOUBLE AS value
FROM of_the_run
UNION ALL
SELECT run, rank, metric, 'less', value
FROM of_latencies;
