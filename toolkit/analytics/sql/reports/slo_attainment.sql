-- Which share of all requests that arrived met each limit of the scenario's [slo], and all of them.
-- Grain: one row per run and limit stated; `all` is all of them together.
-- Reads: request_slo, slo_limits.
-- Units: milliseconds; attainment as a share of requests.
-- Definition: over all arrivals: requests that were refused, cancelled, timed out or failed count as
-- misses.  Each request counts once, an entry `size` times, and so does each further try of it.
CREATE OR REPLACE VIEW slo_attainment AS
WITH
    judged AS (
        SELECT
            request_slo.run,
            verdict.rank,
            verdict.slo,
            verdict.limit_ms,
            request_slo.size,
            verdict.ok
        FROM request_slo
        JOIN slo_limits USING (run)
        CROSS JOIN LATERAL (
            VALUES
                (0, 'ttft', slo_limits.ttft_ms, request_slo.ttft_ok),
                (1, 'tpot', slo_limits.tpot_ms, request_slo.tpot_ok),
                (2, 'e2e', slo_limits.e2e_ms, request_slo.e2e_ok),
                (3, 'all', NULL, request_slo.good)
        ) AS verdict (rank, slo, limit_ms, ok)
        WHERE verdict.ok IS NOT NULL
    )
SELECT
    run,
    slo,
    any_value(limit_ms) AS limit_ms,
    sum(size)::BIGINT AS requests,
    coalesce(sum(size) FILTER (ok), 0)::BIGINT AS met,
    coalesce(sum(size) FILTER (ok), 0) / sum(size) AS attainment
FROM judged
GROUP BY run, rank, slo
ORDER BY run, rank;
