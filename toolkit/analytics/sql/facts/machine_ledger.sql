-- Where the time of each machine went.
-- Grain: one row per machine and cause.  Reads: time_ledger, run_totals, machines, runs.
-- Units: nanoseconds of the machine; share of the makespan.
-- Definition: causes and uses as in time_ledger; a machine's time is its stages' time in equal parts.
-- Links cost no machine time of their own.  A machine of an imported run of which no stage is known is
-- `unexplained` from 0 to the makespan.
CREATE OR REPLACE VIEW machine_ledger AS
WITH
    stages AS (
        SELECT run, machine, count(DISTINCT track) AS stages
        FROM time_ledger
        WHERE kind = 'stage'
        GROUP BY run, machine
    ),
    added AS (
        SELECT
            run,
            machine,
            machine_name,
            role,
            replica,
            cause,
            use,
            sum(dur_ns) AS dur_ns
        FROM time_ledger
        WHERE kind = 'stage'
        GROUP BY run, machine, machine_name, role, replica, cause, use
    )
SELECT
    added.run,
    added.machine,
    added.machine_name,
    added.role,
    added.replica,
    added.cause,
    added.use,
    added.dur_ns / stages.stages AS machine_ns,
    added.dur_ns / stages.stages / run_totals.makespan_ns AS share
FROM added
JOIN stages USING (run, machine)
JOIN run_totals USING (run)
UNION ALL
SELECT
    machines.run,
    machines.machine,
    machines.name,
    machines.role,
    machines.replica,
    'unexplained',
    'idle',
    run_totals.makespan_ns,
    1
FROM machines
JOIN run_totals USING (run)
JOIN runs USING (run)
ANTI JOIN stages USING (run, machine)
WHERE runs.source IS NOT NULL AND run_totals.makespan_ns > 0;
