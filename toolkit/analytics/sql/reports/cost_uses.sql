-- What the machine time that is paid for went into, role by role.
-- Grain: one row per run, role and cause.  Reads: cost_ledger.
-- Units: machine-seconds; US dollars, kilowatt-hours and grams of CO2 equivalent, NULL where a machine's
-- are not known; share of the run.
-- Definition: cost_ledger, added up over the machines of a role; the dollars of a run add up to its
-- bill.
CREATE OR REPLACE VIEW cost_uses AS
SELECT
    run,
    role,
    cause,
    use,
    sum(machine_ns ORDER BY machine) / 1e9 AS machine_s,
    CASE WHEN count(cost_usd) = count(*) THEN sum(cost_usd ORDER BY machine) END AS cost_usd,
    CASE WHEN count(energy_kwh) = count(*) THEN sum(energy_kwh ORDER BY machine) END AS energy_kwh,
    CASE WHEN count(co2_g) = count(*) THEN sum(co2_g ORDER BY machine) END AS co2_g,
    sum(share ORDER BY machine) AS share
FROM cost_ledger
GROUP BY run, role, cause, use
ORDER BY run, role, cause;
