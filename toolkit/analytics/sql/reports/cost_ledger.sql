-- What each machine was paid for, and what the electricity for it came to: the time ledger, priced.
-- Grain: one row per machine and cause.  Reads: machine_ledger, machines, run_totals, tariffs.
-- Units: nanoseconds of the machine; US dollars; kilowatt-hours; grams of CO2 equivalent; share of the
-- run's machine time.  NULL where the price, the watts or the carbon intensity are not known.
-- Definition: a machine is paid for from 0 to the makespan whatever it does, so the dollars of a run
-- add up to its bill.  Energy is busy_w while it works, idle_w while it stands still, of the devices
-- alone unless the scenario states otherwise.  Causes and uses as in time_ledger.
CREATE OR REPLACE VIEW cost_ledger AS
WITH
    alike AS (
        SELECT run, count(*) AS machines
        FROM machines
        GROUP BY run
    ),
    powered AS (
        SELECT
            machine_ledger.*,
            CASE
                WHEN machine_ledger.cause IN ('prefill', 'decode', 'mixed', 'swapping', 'lost', 'other')
                    THEN tariffs.busy_w
                ELSE tariffs.idle_w
            END AS power_w,
            tariffs.co2_g_per_kwh
        FROM machine_ledger
        JOIN tariffs USING (run)
    )
SELECT
    powered.run,
    powered.machine,
    powered.machine_name,
    powered.role,
    powered.cause,
    powered.use,
    powered.machine_ns,
    powered.machine_ns * machines.price_usd_per_hour / 3.6e12 AS cost_usd,
    powered.machine_ns * powered.power_w / 3.6e15 AS energy_kwh,
    powered.machine_ns * powered.power_w / 3.6e15 * powered.co2_g_per_kwh AS co2_g,
    powered.machine_ns / (alike.machines * run_totals.makespan_ns) AS share
FROM powered
JOIN machines USING (run, machine)
JOIN alike USING (run)
JOIN run_totals USING (run)
ORDER BY powered.run, powered.machine, powered.cause;
