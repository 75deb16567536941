-- Where the time of each machine's stages went.
-- Grain: one row per machine and cause.  Reads: time_ledger, run_totals.
-- Units: seconds of the machine (its stages' time in equal parts); share of the makespan.
-- Definition: causes as in time_ledger.
CREATE OR REPLACE VIEW machine_ledger AS
WITH
    stages AS (
        SELECT run, machine, count(DISTINCT track) AS stages
        FROM time_ledger
        WHERE kind = 'stage'
        GROUP BY run, machine
    )
SELECT
    time_ledger.run,
    time_ledger.machine,
    time_ledger.machine_name,
    time_ledger.role,
    time_ledger.cause,
    sum(time_ledger.dur_ns) / any_value(stages.stages) / 1e9 AS dur_s,
    sum(time_ledger.dur_ns) / any_value(stages.stages)
        / nullif(any_value(run_totals.makespan_ns), 0) AS share
FROM time_ledger
JOIN stages USING (run, machine)
JOIN run_totals USING (run)
WHERE time_ledger.kind = 'stage'
GROUP BY
    time_ledger.run,
    time_ledger.machine,
    time_ledger.machine_name,
    time_ledger.role,
    time_ledger.cause
ORDER BY time_ledger.run, time_ledger.machine, time_ledger.cause;
