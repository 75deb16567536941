-- Which share of each tenant's requests met each of its limits, and all of them.
-- Grain: one row per run, tenant and limit that holds for it; `all` is all of them together.
-- Reads: request_verdicts.
-- Units: milliseconds; attainment as a share of requests.
-- Definition: as in slo_attainment, tenant by tenant.
CREATE OR REPLACE VIEW tenant_slo AS
SELECT
    run,
    tenant,
    slo,
    min(limit_ms) AS limit_ms,
    sum(size)::BIGINT AS requests,
    coalesce(sum(size) FILTER (ok), 0)::BIGINT AS met,
    coalesce(sum(size) FILTER (ok), 0) / sum(size) AS attainment
FROM request_verdicts
WHERE tenant IS NOT NULL
GROUP BY run, tenant, rank, slo
ORDER BY run, tenant, rank;
