-- What each benchmark tool would have measured on this run, value by value, with its own weights.
-- Grain: one row per run, tool, metric and distinct value.
-- Reads: requests, first_token, itl.
-- Units: nanoseconds, but tokens per second for output_token_throughput_per_user.
-- Definition: a sample is a request (an entry of size n is n of them) that was served; the clock of
-- every tool starts at the arrival.  vllm: TTFT, TPOT over the tokens after the first where there is
-- one, ITL gap by gap, E2EL.  aiperf: ITL is vLLM's TPOT; TTST is the first gap.  guidellm: TPOT is
-- from arrival to last token by all tokens, weighted by tokens; ITL is vLLM's TPOT weighted by
-- tokens - 1.  mlperf: whole nanoseconds, TPOT as vLLM's, cut off.  dejavu: latency per token by
-- entry.  Metrics of gaps are missing at trace level `requests`.
CREATE OR REPLACE VIEW dialect_samples AS
WITH
    served AS (
        SELECT
            requests.run,
            requests.request,
            requests.size,
            requests.output_tokens AS tokens,
            first_token.first_token_ns - requests.arrival_ns AS ttft_ns,
            requests.finish_ns - requests.arrival_ns AS e2e_ns,
            requests.finish_ns - first_token.first_token_ns AS after_ns
        FROM requests
        JOIN first_token USING (run, request)
    ),
    of_requests AS (
        SELECT served.run, sample.*
        FROM served
        CROSS JOIN LATERAL (
            VALUES
                ('vllm', 'ttft', ttft_ns::DOUBLE, size),
                ('vllm', 'tpot', after_ns / nullif(tokens - 1, 0), size),
                ('vllm', 'e2el', e2e_ns::DOUBLE, size),
                ('aiperf', 'time_to_first_token', ttft_ns::DOUBLE, size),
                ('aiperf', 'inter_token_latency', after_ns / nullif(tokens - 1, 0), size),
                ('aiperf', 'request_latency', e2e_ns::DOUBLE, size),
                (
                    'aiperf',
                    'output_token_throughput_per_user',
                    (tokens - 1) * 1e9 / nullif(after_ns, 0),
                    CASE WHEN tokens > 1 THEN size ELSE 0 END
                ),
                ('guidellm', 'time_to_first_token', ttft_ns::DOUBLE, size),
                ('guidellm', 'time_per_output_token', e2e_ns / nullif(tokens, 0), size * tokens),
                (
                    'guidellm',
                    'inter_token_latency',
                    after_ns / nullif(tokens - 1, 0),
                    size * (tokens - 1)
                ),
                ('guidellm', 'request_latency', e2e_ns::DOUBLE, size),
                ('mlperf', 'first_token_latency', ttft_ns::DOUBLE, size),
                (
                    'mlperf',
                    'time_per_output_token',
                    (after_ns // nullif(tokens - 1, 0))::DOUBLE,
                    size
                ),
                ('mlperf', 'sample_latency', e2e_ns::DOUBLE, size),
                ('dejavu', 'latency_per_token', e2e_ns / nullif(tokens, 0), 1)
        ) AS sample (dialect, metric, value, weight)
    ),
    of_gaps AS (
        SELECT run, 'vllm' AS dialect, 'itl' AS metric, gap_ns::DOUBLE AS value, size AS weight
        FROM itl
        UNION ALL
        SELECT run, 'aiperf', 'time_to_second_token', gap_ns::DOUBLE, size
        FROM itl
        WHERE token = 1
    ),
    together AS (
        SELECT * FROM of_requests
        UNION ALL
        SELECT * FROM of_gaps
    )
SELECT
    run,
    dialect,
    metric,
    value,
    sum(weight)::BIGINT AS weight
FROM together
WHERE value IS NOT NULL AND weight > 0
GROUP BY run, dialect, metric, value;
