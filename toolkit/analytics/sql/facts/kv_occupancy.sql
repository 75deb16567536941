-- How many bytes of KV cache each machine had set aside, over time.
-- Kept at trace level `full` only, and only where the scenario states a model.
-- Grain: one row per machine and stretch of time with one value, up to the makespan.
-- Reads: counters, machines, run_totals.
-- Units: nanoseconds, bytes; `share` of the device memory that weights leave, NULL where memory or
-- weights are unknown.
-- Definition: room that is reserved, not room that is filled: prompt and answer from admission on.
CREATE OR REPLACE VIEW kv_occupancy AS
WITH
    levels AS (
        SELECT
            counters.run,
            counters.machine,
            counters.ts_ns AS from_ns,
            coalesce(
                lead(counters.ts_ns) OVER (
                    PARTITION BY counters.run, counters.counter ORDER BY counters.ts_ns
                ),
                run_totals.makespan_ns
            ) AS until_ns,
            counters.value AS bytes
        FROM counters
        JOIN run_totals USING (run)
        WHERE counters.share_key = 'kv'
    )
SELECT
    levels.run,
    levels.machine,
    machines.name AS machine_name,
    machines.role,
    levels.from_ns,
    levels.until_ns,
    levels.bytes,
    levels.bytes / nullif(machines.memory_bytes - machines.weights_bytes, 0) AS share
FROM levels
JOIN machines USING (run, machine)
WHERE levels.until_ns > levels.from_ns;
