-- The machines, their place in a pipeline, their memory and their price.
-- Grain: one row per machine of a run.  Reads: store.machines, runs.
-- Units: bytes; US dollars per hour, NULL where the scenario states no price.
-- Definition: where the rules of an imported run state how many machines it ran on, each machine that
-- the trace tells apart is an equal share of these.
CREATE OR REPLACE VIEW machines AS
SELECT
    machine.run,
    machine.machine,
    machine.name,
    machine.role,
    machine.replica,
    machine.stage,
    machine.layers,
    machine.weights_bytes,
    machine.memory_bytes,
    CASE WHEN runs.stated_machines IS NULL THEN machine.price_usd_per_hour
        ELSE machine.price_usd_per_hour * runs.stated_machines
            / count(*) OVER (PARTITION BY machine.run)
    END AS price_usd_per_hour
FROM store.machines AS machine
JOIN runs USING (run);
