-- The limits of the scenario's [slo], which a request has to meet to be good.
-- Grain: one row per run that states any.  Reads: store.manifests.
-- Units: milliseconds, NULL where no limit is stated.
CREATE OR REPLACE VIEW slo_limits AS
SELECT
    run,
    (manifest ->> '$.scenario.slo.ttft_ms')::DOUBLE AS ttft_ms,
    (manifest ->> '$.scenario.slo.tpot_ms')::DOUBLE AS tpot_ms,
    (manifest ->> '$.scenario.slo.e2e_ms')::DOUBLE AS e2e_ms
FROM store.manifests
WHERE (manifest -> '$.scenario.slo') IS NOT NULL;
