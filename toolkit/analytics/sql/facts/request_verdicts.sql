-- Every limit of every request that counts, one under the other: what attainment is made of.
-- Grain: one row per entry that counts and limit stated for it; `all` is all of them together.
-- Reads: request_slo, request_limits.
-- Units: milliseconds.
CREATE OR REPLACE VIEW request_verdicts AS
SELECT
    request_slo.run,
    request_slo.request,
    request_slo.tenant,
    request_slo.size,
    verdict.rank,
    verdict.slo,
    verdict.limit_ms,
    verdict.ok
FROM request_slo
JOIN request_limits USING (run, request)
CROSS JOIN LATERAL (
    VALUES
        (0, 'ttft', request_limits.ttft_ms, request_slo.ttft_ok),
        (1, 'tpot', request_limits.tpot_ms, request_slo.tpot_ok),
        (2, 'e2e', request_limits.e2e_ms, request_slo.e2e_ok),
        (3, 'all', NULL, request_slo.good)
) AS verdict (rank, slo, limit_ms, ok)
WHERE request_slo.counts AND verdict.ok IS NOT NULL;
