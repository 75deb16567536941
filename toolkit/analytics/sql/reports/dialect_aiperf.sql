-- The run as AIPerf would have reported it.
-- Grain: one row per run, metric and statistic; `value` for figures that are one number.
-- Reads: dialect_spread, run_totals, requests, request_slo.
-- Units: in `unit`: ms; tokens per second and user; per second; requests.
-- Definition: AIPerf, docs/metrics-reference.md and src/aiperf/metrics/types.  The duration runs
-- from the first request sent to the last response.  ITL is a request's mean gap, (latency - TTFT) /
-- (tokens - 1), what vLLM calls TPOT.  Goodput: a request without a figure that has a limit is not
-- good, so a one-token answer fails a limit on ITL.  Percentiles are numpy's (linear).
CREATE OR REPLACE VIEW dialect_aiperf AS
WITH
    spanned AS (
        SELECT
            run,
            max(finish_ns) FILTER (outcome = 'served') - min(arrival_ns) AS duration_ns
        FROM requests
        GROUP BY run
    ),
    good AS (
        SELECT
            request_slo.run,
            coalesce(
                sum(request_slo.size) FILTER (
                    request_slo.good
                    AND (request_slo.tpot_ok IS NULL OR requests.output_tokens > 1)
                ),
                0
            )::BIGINT AS requests_good
        FROM request_slo
        JOIN requests USING (run, request)
        GROUP BY request_slo.run
    ),
    rates AS (
        SELECT
            run_totals.run,
            figure.*
        FROM run_totals
        JOIN spanned USING (run)
        LEFT JOIN good USING (run)
        CROSS JOIN LATERAL (
            VALUES
                (0, 'request_count', 'requests', requests::DOUBLE),
                (1, 'benchmark_duration', 's', duration_ns / 1e9),
                (2, 'request_throughput', '1/s', requests * 1e9 / nullif(duration_ns, 0)),
                (3, 'goodput', '1/s', good.requests_good * 1e9 / nullif(duration_ns, 0)),
                (4, 'output_token_throughput', '1/s', output_tokens * 1e9 / nullif(duration_ns, 0))
        ) AS figure (rank, metric, unit, value)
    ),
    spread AS (
        SELECT
            run,
            CASE metric
                WHEN 'time_to_first_token' THEN 10
                WHEN 'time_to_second_token' THEN 11
                WHEN 'inter_token_latency' THEN 12
                WHEN 'request_latency' THEN 13
                WHEN 'output_token_throughput_per_user' THEN 14
            END AS rank,
            metric,
            statistic,
            CASE metric WHEN 'output_token_throughput_per_user' THEN '1/s' ELSE 'ms' END AS unit,
            CASE metric WHEN 'output_token_throughput_per_user' THEN value ELSE value / 1e6 END AS value,
            dialect_spread.rank AS statistic_rank
        FROM dialect_spread
        WHERE dialect = 'aiperf'
    ),
    together AS (
        SELECT run, rank, metric, 'value' AS statistic, unit, value, 0 AS statistic_rank
        FROM rates
        WHERE value IS NOT NULL
        UNION ALL
        SELECT run, rank, metric, statistic, unit, value, statistic_rank
        FROM spread
    )
SELECT run, metric, statistic, unit, value
FROM together
ORDER BY run, rank, statistic_rank;
