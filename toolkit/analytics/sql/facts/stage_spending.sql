-- What a run spent on each thing its stages did: time of an average stage, and money.
-- Grain: one row per run, detail and cause.  Reads: time_ledger, stage_time, tracks, machines.
-- Units: nanoseconds of an average stage; US dollars, NULL where a machine has no stated price.
-- Definition: `detail` is `ledger` for the causes of time_ledger, `parts` for those of stage_time, which
-- are the same at every trace level.  The times of a detail add up to the makespan, the dollars to the
-- bill: a machine's time is its stages' time in equal parts.
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
    )
SELECT
    spent.run,
    spent.detail,
    spent.cause,
    sum(spent.dur_ns) / any_value(stages.stages) AS mean_ns,
    CASE WHEN count(stages.usd_per_hour) = count(*) THEN
        sum(spent.dur_ns * stages.usd_per_hour ORDER BY spent.track) / 3.6e12
    END AS cost_usd
FROM spent
JOIN stages USING (run, track)
GROUP BY spent.run, spent.detail, spent.cause;
