-- The limits that requests have to meet to be good: the scenario's [slo], and tenants' own.
-- Grain: one row per run that states an [slo], `tenant` NULL, and one per tenant with limits of its
-- own.  Reads: store.manifests.
-- Units: milliseconds, NULL where no limit is stated.
-- Definition: a tenant's own limits stand in the place of [slo], all of them: what they leave out is
-- no limit.
CREATE OR REPLACE VIEW slo_limits AS
WITH
    stated AS (
        SELECT run, NULL::VARCHAR AS tenant, manifest -> '$.scenario.slo' AS slo
        FROM store.manifests
        UNION ALL
        SELECT manifests.run, listed.tenant ->> '$.name', listed.tenant -> '$.slo'
        FROM store.manifests AS manifests
        CROSS JOIN LATERAL unnest((manifests.manifest -> '$.scenario.workload.tenant')::JSON[])
            AS listed (tenant)
    )
SELECT
    run,
    tenant,
    (slo ->> '$.ttft_ms')::DOUBLE AS ttft_ms,
    (slo ->> '$.tpot_ms')::DOUBLE AS tpot_ms,
    (slo ->> '$.e2e_ms')::DOUBLE AS e2e_ms
FROM stated
WHERE slo IS NOT NULL;
