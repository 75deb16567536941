-- The run as `vllm bench serve` would have reported it.
-- Grain: one row per run, metric and statistic; `value` for figures that are one number.
-- Reads: dialect_spread, run_totals, request_slo.
-- Units: in `unit`: ms; per second; requests; tokens.
-- Definition: vLLM, vllm/benchmarks/serve.py, calculate_metrics.  The duration runs from the start
-- of the load (0) to the last answer.  TPOT leaves out answers of one token; ITL is every gap.
-- Goodput counts requests whose TTFT, TPOT and E2EL are at most the limits; a one-token answer has
-- TPOT 0 there.  Failed requests count nowhere.  Percentiles are numpy's (linear).
CREATE OR REPLACE VIEW dialect_vllm AS
WITH
    good AS (
        SELECT run, coalesce(sum(size) FILTER (good), 0)::BIGINT AS requests_good
        FROM request_slo
        GROUP BY run
    ),
    rates AS (
        SELECT
            run_totals.run,
            figure.*
        FROM run_totals
        LEFT JOIN good USING (run)
        CROSS JOIN LATERAL (
            VALUES
                (0, 'completed', 'requests', requests::DOUBLE),
                (1, 'duration', 's', makespan_ns / 1e9),
                (2, 'total_input', 'tokens', prompt_tokens::DOUBLE),
                (3, 'total_output', 'tokens', output_tokens::DOUBLE),
                (4, 'request_throughput', '1/s', requests * 1e9 / nullif(makespan_ns, 0)),
                (5, 'request_goodput', '1/s', good.requests_good * 1e9 / nullif(makespan_ns, 0)),
                (6, 'output_throughput', '1/s', output_tokens * 1e9 / nullif(makespan_ns, 0)),
                (
                    7,
                    'total_token_throughput',
                    '1/s',
                    (prompt_tokens + output_tokens) * 1e9 / nullif(makespan_ns, 0)
                )
        ) AS figure (rank, metric, unit, value)
    ),
    spread AS (
        SELECT
            run,
            CASE metric
                WHEN 'ttft' THEN 10
                WHEN 'tpot' THEN 11
                WHEN 'itl' THEN 12
                WHEN 'e2el' THEN 13
            END AS rank,
            metric,
            statistic,
            'ms' AS unit,
            value / 1e6 AS value,
            dialect_spread.rank AS statistic_rank
        FROM dialect_spread
        WHERE dialect = 'vllm'
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
