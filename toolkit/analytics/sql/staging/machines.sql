-- The machines, their place in a pipeline, their memory and their price.
-- Grain: one row per machine of a run.  Reads: store.machines.
-- Units: bytes; US dollars per hour, NULL where the scenario states no price.
CREATE OR REPLACE VIEW machines AS
SELECT
    run,
    machine,
    name,
    role,
    replica,
    stage,
    layers,
    weights_bytes,
    memory_bytes,
    price_usd_per_hour
FROM store.machines;
