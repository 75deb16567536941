-- The run as GuideLLM would have reported it.
-- Grain: one row per run, metric and statistic; `value` for figures that are one number.
-- Reads: dialect_spread, run_totals, requests, request_slo.
-- Units: in `unit`: ms, s; per second; requests; shares.
-- Definition: GuideLLM, src/guidellm/schemas/request_stats.py, statistics.py and
-- docs/guides/service_level_objectives.md.  TPOT counts the first token: last token - request start,
-- by all tokens, weighted by tokens.  ITL is (last - first) / (tokens - 1), weighted by tokens - 1,
-- so its mean is that of all gaps.  Percentiles are of the weighted distribution, without
-- interpolation.  Attainment and goodput leave one-token answers undetermined where tpot_ms is
-- limited, and count failed requests as misses.  Rates are by first request start to last end.
CREATE OR REPLACE VIEW dialect_guidellm AS
WITH
    spanned AS (
        SELECT
            run,
            max(finish_ns) FILTER (outcome = 'served') - min(arrival_ns) AS duration_ns
        FROM requests
        GROUP BY run
    ),
    determined AS (
        SELECT
            request_slo.run,
            sum(request_slo.size)::BIGINT AS requests_judged,
            coalesce(sum(request_slo.size) FILTER (request_slo.good), 0)::BIGINT AS requests_good
        FROM request_slo
        JOIN requests USING (run, request)
        WHERE
            request_slo.tpot_ok IS NULL
            OR requests.output_tokens > 1
            OR requests.outcome <> 'served'
        GROUP BY request_slo.run
    ),
    rates AS (
        SELECT
            run_totals.run,
            figure.*
        FROM run_totals
        JOIN spanned USING (run)
        LEFT JOIN determined USING (run)
        CROSS JOIN LATERAL (
            VALUES
                (0, 'successful_requests', 'requests', requests::DOUBLE),
                (1, 'requests_per_second', '1/s', requests * 1e9 / nullif(duration_ns, 0)),
                (2, 'goodput', '1/s', determined.requests_good * 1e9 / nullif(duration_ns, 0)),
                (
                    3,
                    'slo_attainment',
                    'share',
                    determined.requests_good / nullif(determined.requests_judged, 0)
                ),
                (
                    4,
                    'output_tokens_per_second',
                    '1/s',
                    output_tokens * 1e9 / nullif(duration_ns, 0)
                ),
                (
                    5,
                    'tokens_per_second',
                    '1/s',
                    (prompt_tokens + output_tokens) * 1e9 / nullif(duration_ns, 0)
                )
        ) AS figure (rank, metric, unit, value)
    ),
    spread AS (
        SELECT
            run,
            CASE metric
                WHEN 'time_to_first_token' THEN 10
                WHEN 'inter_token_latency' THEN 11
                WHEN 'time_per_output_token' THEN 12
                WHEN 'request_latency' THEN 13
            END AS rank,
            metric,
            statistic,
            CASE metric WHEN 'request_latency' THEN 's' ELSE 'ms' END AS unit,
            CASE metric WHEN 'request_latency' THEN value / 1e9 ELSE value / 1e6 END AS value,
            dialect_spread.rank AS statistic_rank
        FROM dialect_spread
        WHERE dialect = 'guidellm'
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
