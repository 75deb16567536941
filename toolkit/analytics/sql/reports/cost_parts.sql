-- What the machine time that is paid for went into.
-- Grain: one row per run, role and part.  Reads: stage_time, machines.
-- Units: machine-seconds; US dollars, NULL where the machines have no stated price; share of the run.
-- Definition: a machine's time is its stages' time in equal parts; the dollars of a run add up to its
-- bill.  Parts as in stage_time.
CREATE OR REPLACE VIEW cost_parts AS
WITH
    priced AS (
        SELECT
            stage_time.run,
            stage_time.role,
            stage_time.part,
            stage_time.dur_ns
                / count(*) OVER (PARTITION BY stage_time.run, stage_time.machine, stage_time.part)
                AS machine_ns,
            machines.price_usd_per_hour
        FROM stage_time
        JOIN machines USING (run, machine)
    )
SELECT
    run,
    role,
    part,
    sum(machine_ns) / 1e9 AS machine_s,
    CASE WHEN count(price_usd_per_hour) = count(*) THEN
        sum(machine_ns * price_usd_per_hour) / 3.6e12
    END AS cost_usd,
    sum(machine_ns) / nullif(sum(sum(machine_ns)) OVER (PARTITION BY run), 0) AS share
FROM priced
GROUP BY run, role, part
HAVING sum(machine_ns) > 0
ORDER BY run, role, part;
