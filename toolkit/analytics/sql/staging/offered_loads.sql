-- The load that a run states, and which share of requests has to meet its limits for it to hold.
-- Grain: one row per run.  Reads: store.manifests.
-- Units: requests per second, NULL where the scenario states no rate; share of requests.
-- Definition: the rate is what `toolkit capacity` played, else `workload.arrivals.rate_per_s`; the
-- share is `capacity.attainment`, else 0.99.
CREATE OR REPLACE VIEW offered_loads AS
SELECT
    run,
    coalesce(
        (manifest ->> '$.load.rate_per_s')::DOUBLE,
        (manifest ->> '$.scenario.workload.arrivals.rate_per_s')::DOUBLE
    ) AS rate_per_s,
    coalesce((manifest ->> '$.scenario.capacity.attainment')::DOUBLE, 0.99) AS target
FROM store.manifests;
