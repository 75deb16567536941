-- The limits each request has to meet: those of its tenant, else those of the scenario's [slo].
-- Grain: one row per entry that arrived and has limits.  Reads: requests, slo_limits.
-- Units: milliseconds, NULL where no such limit is stated.
-- Definition: a tenant's limits stand in the place of [slo], all of them.  Where only tenants state
-- limits, requests of others have none and are not judged.
CREATE OR REPLACE VIEW request_limits AS
WITH
    of_all AS (
        SELECT *
        FROM slo_limits
        WHERE tenant IS NULL
    ),
    of_tenants AS (
        SELECT *
        FROM slo_limits
        WHERE tenant IS NOT NULL
    )
SELECT
    requests.run,
    requests.request,
    requests.tenant,
    CASE WHEN of_tenants.run IS NULL THEN of_all.ttft_ms ELSE of_tenants.ttft_ms END AS ttft_ms,
    CASE WHEN of_tenants.run IS NULL THEN of_all.tpot_ms ELSE of_tenants.tpot_ms END AS tpot_ms,
    CASE WHEN of_tenants.run IS NULL THEN of_all.e2e_ms ELSE of_tenants.e2e_ms END AS e2e_ms
FROM requests
LEFT JOIN of_tenants ON of_tenants.run = requests.run AND of_tenants.tenant = requests.tenant
LEFT JOIN of_all ON of_all.run = requests.run
WHERE of_tenants.run IS NOT NULL OR of_all.run IS NOT NULL;
