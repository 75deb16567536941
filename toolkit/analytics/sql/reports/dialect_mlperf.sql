-- The run as MLPerf's LoadGen would have reported it in the Server scenario with token latencies.
-- Grain: one row per run, metric and statistic; `value` for figures that are one number.
-- Reads: dialect_spread, run_totals, requests, slo_limits.
-- Units: in `unit`: ms; per second; samples; 1 for yes and 0 for no.
-- Definition: MLPerf Inference, loadgen/results.cc.  Completed samples per second are (samples - 1)
-- by the time the last one was done, from the start of the load; scheduled samples per second are
-- (samples - 1) by the last arrival.  The percentile p of n samples is the one at place floor(n p)
-- from 0.  A run is valid where p99 of TTFT and of TPOT are at most the limits: there is no goodput,
-- and single requests may exceed them; tenants' own limits are not looked at.  Answers of one token are left out of TPOT.
CREATE OR REPLACE VIEW dialect_mlperf AS
WITH
    arrivals AS (
        SELECT run, max(arrival_ns) AS last_arrival_ns
        FROM requests
        GROUP BY run
    ),
    judged AS (
        SELECT
            slo_limits.run,
            bool_and(
                dialect_spread.value <= 1e6 * CASE dialect_spread.metric
                    WHEN 'first_token_latency' THEN coalesce(slo_limits.ttft_ms, 'inf')
                    ELSE coalesce(slo_limits.tpot_ms, 'inf')
                END
            ) AS met
        FROM slo_limits
        JOIN dialect_spread USING (run)
        WHERE
            slo_limits.tenant IS NULL
            AND dialect_spread.dialect = 'mlperf'
            AND dialect_spread.metric IN ('first_token_latency', 'time_per_output_token')
            AND dialect_spread.statistic = 'p99'
            AND (slo_limits.ttft_ms IS NOT NULL OR slo_limits.tpot_ms IS NOT NULL)
        GROUP BY slo_limits.run
    ),
    rates AS (
        SELECT
            run_totals.run,
            figure.*
        FROM run_totals
        JOIN arrivals USING (run)
        LEFT JOIN judged USING (run)
        CROSS JOIN LATERAL (
            VALUES
                (0, 'samples', 'samples', requests::DOUBLE),
                (
                    1,
                    'completed_samples_per_second',
                    '1/s',
                    (requests - 1) * 1e9 / nullif(makespan_ns, 0)
                ),
                (
                    2,
                    'scheduled_samples_per_second',
                    '1/s',
                    (requests - 1) * 1e9 / nullif(last_arrival_ns, 0)
                ),
                (
                    3,
                    'completed_tokens_per_second',
                    '1/s',
                    output_tokens * 1e9 / nullif(makespan_ns, 0)
                ),
                (4, 'performance_constraints_met', 'yes = 1', judged.met::INTEGER::DOUBLE)
        ) AS figure (rank, metric, unit, value)
    ),
    spread AS (
        SELECT
            run,
            CASE metric
                WHEN 'first_token_latency' THEN 10
                WHEN 'time_per_output_token' THEN 11
                WHEN 'sample_latency' THEN 12
            END AS rank,
            metric,
            statistic,
            'ms' AS unit,
            value / 1e6 AS value,
            dialect_spread.rank AS statistic_rank
        FROM dialect_spread
        WHERE dialect = 'mlperf'
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
