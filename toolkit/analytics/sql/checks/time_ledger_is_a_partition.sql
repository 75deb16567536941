-- At trace level `full`, the stretches of a track follow one another from 0 to the makespan without
-- a gap or an overlap, and are what the ledger adds up.
-- Grain: one row per track and stretch that does not start where the one before ends (cause NULL),
-- and per track and cause that the ledger counts otherwise.
-- Reads: time_ledger_intervals, time_ledger, runs.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW time_ledger_is_a_partition AS
WITH
    joints AS (
        SELECT
            run,
            track,
            from_ns,
            coalesce(lag(until_ns) OVER (PARTITION BY run, track ORDER BY from_ns), 0) AS before_ns
        FROM time_ledger_intervals
    ),
    added AS (
        SELECT run, track, cause, sum(until_ns - from_ns)::BIGINT AS stretches_ns
        FROM time_ledger_intervals
        GROUP BY run, track, cause
    ),
    counted AS (
        SELECT time_ledger.run, time_ledger.track, time_ledger.cause, time_ledger.dur_ns
        FROM time_ledger
        JOIN runs USING (run)
        WHERE runs.level = 'full'
    )
SELECT run, track, NULL AS cause, from_ns AS found_ns, before_ns AS expected_ns
FROM joints
WHERE from_ns <> before_ns
UNION ALL
SELECT run, track, cause, coalesce(stretches_ns, 0), coalesce(dur_ns, 0)
FROM added
FULL JOIN counted USING (run, track, cause)
WHERE coalesce(stretches_ns, 0) <> coalesce(dur_ns, 0);
