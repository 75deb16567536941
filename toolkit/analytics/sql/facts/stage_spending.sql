-- What a run spent on each thing its stages did: time of an average stage, and money.
-- Grain: one row per run, detail and cause.  Reads: time_ledger, stage_time, tracks, machines,
-- run_totals, runs.
-- Units: nanoseconds of an average stage; US dollars, NULL where a machine has no stated price.
-- Definition: `detail` is `ledger` for the causes of time_ledger, `parts` for those of stage_time, which
-- are the same at every trace level.  The times of a detail add up to the makespan, the dollars to the
-- bill: a machine's time is its stages' time in equal parts, and what was paid for a machine of an
-- imported run of which no stage is known is `unexplained` (of parts, `idle`).
CREATE OR REPLACE VIEW stage_spending AS
WITH
    stages AS (
        SELECT
            tracks.run,
            tracks.track,
            count(*) OVER (PARTITION BY tracks.run) AS stages,
            machines.price_usd_per_hour
                / count(*) OVER (PARTITION BY tracks.run, tracks.machine) AS usd_per_hour
        FROM tracks
        LEFT JOIN machines USING (run, machine)
        WHERE tracks.kind = 'stage'
    ),
    spent AS (
        SELECT run, track, 'ledger' AS detail, cause, dur_ns
        FROM time_ledger
        WHERE kind = 'stage'
        UNION ALL
        SELECT run, track, 'parts', part, dur_ns
        FROM stage_time
        WHERE dur_ns > 0
    ),
    paid AS (
        SELECT
            spent.run,
            spent.track,
            spent.detail,
            spent.cause,
            stages.stages,
            spent.dur_ns,
            spent.dur_ns * stages.usd_per_hour AS usd_ns
        FROM spent
        JOIN stages USING (run, track)
        UNION ALL
        SELECT
            machines.run,
            NULL,
            bare.detail,
            bare.cause,
            NULL,
            0,
            run_totals.makespan_ns * machines.price_usd_per_hour
        FROM machines
        JOIN run_totals USING (run)
        ANTI JOIN (SELECT run, machine FROM tracks WHERE kind = 'stage') AS placed
            USING (run, machine)
        JOIN runs USING (run)
        CROSS JOIN (VALUES ('ledger', 'unexplained'), ('parts', 'idle')) AS bare (detail, cause)
        WHERE runs.source IS NOT NULL
    )
SELECT
    run,
    detail,
    cause,
    coalesce(sum(dur_ns) / any_value(stages), 0) AS mean_ns,
    CASE WHEN count(usd_ns) = count(*) THEN sum(usd_ns ORDER BY track) / 3.6e12 END AS cost_usd
FROM paid
GROUP BY run, detail, cause;
