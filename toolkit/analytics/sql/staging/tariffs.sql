-- What a run's machines are paid for and fed with, as its scenario states it.
-- Grain: one row per run.  Reads: store.manifests.
-- Units: watts of one machine at work and standing still; grams of CO2 equivalent per kilowatt-hour;
-- NULL where neither the scenario nor the catalog has the figure.
-- Definition: `price_kind` is on_demand, reserved or spot where the scenario says so; `..._source`
-- are the catalog's words, or `stated in the scenario`.
CREATE OR REPLACE VIEW tariffs AS
WITH
    stated AS (
        SELECT run, manifest -> '$.scenario.hardware' AS hardware
        FROM store.manifests
    )
SELECT
    run,
    hardware ->> '$.price' AS price_kind,
    CASE WHEN hardware ->> '$.price_usd_per_machine_hour' IS NOT NULL THEN
        coalesce(hardware ->> '$.price_source', 'stated in the scenario')
    END AS price_source,
    (hardware ->> '$.busy_w_per_machine')::DOUBLE AS busy_w,
    (hardware ->> '$.idle_w_per_machine')::DOUBLE AS idle_w,
    CASE WHEN hardware ->> '$.busy_w_per_machine' IS NOT NULL THEN
        coalesce(hardware ->> '$.power_source', 'stated in the scenario')
    END AS power_source,
    (hardware ->> '$.co2_g_per_kwh')::DOUBLE AS co2_g_per_kwh
FROM stated;
