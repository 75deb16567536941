-- What the machine time that is paid for went into.
-- Grain: one row per run, role and part.  Reads: stage_time, machines, run_totals.
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
            stage_time.track,
            stage_time.dur_ns
                / count(*) OVER (PARTITION BY stage_time.run, stage_time.machine, stage_time.part)
                AS machine_ns,
            machines.price_usd_per_hour
        FROM stage_time
        JOIN machines USING (run, machine)
    )
SELECT
    priced.run,
    priced.role,
    priced.part,
    sum(machine_ns ORDER BY track) / 1e9 AS machine_s,
    CASE WHEN count(priced.price_usd_per_hour) = count(*) THEN
        sum(machine_ns * priced.price_usd_per_hour ORDER BY track) / 3.6e12
    END AS cost_usd,
    sum(machine_ns ORDER BY track)
        / nullif(any_value(run_totals.machines * run_totals.makespan_ns), 0) AS share
FROM priced
JOIN run_totals USING (run)
GROUP BY priced.run, priced.role, priced.part
HAVING sum(machine_ns) > 0
ORDER BY priced.run, priced.role, priced.part;
