-- The run as the simulators published with DéjàVu report it.
-- Grain: one row per run, metric and statistic; `value` for figures that are one number.
-- Reads: dialect_spread, run_totals.
-- Units: in `unit`: s; seconds per token; per second.
-- Definition: an entry is what the list holds, a microbatch there.  Throughput is entries by the
-- makespan, which runs from 0; latency per token is (end - arrival) / output tokens of each entry,
-- the first token and the queue included.  There is no TTFT and no TPOT.
CREATE OR REPLACE VIEW dialect_dejavu AS
WITH
    rates AS (
        SELECT
            run_totals.run,
            figure.*
        FROM run_totals
        CROSS JOIN LATERAL (
            VALUES
                (0, 'makespan', 's', makespan_ns / 1e9),
                (1, 'throughput', '1/s', entries * 1e9 / nullif(makespan_ns, 0))
        ) AS figure (rank, metric, unit, value)
    ),
    spread AS (
        SELECT
            run,
            CASE metric
                WHEN 'latency_per_token' THEN 10
            END AS rank,
            metric,
            statistic,
            's' AS unit,
            value / 1e9 AS value,
            dialect_spread.rank AS statistic_rank
        FROM dialect_spread
        WHERE dialect = 'dejavu'
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
