-- Every nanosecond of every stage and every link has one cause: those of a track add up to the
-- makespan, and none is negative.
-- Grain: one row per track where they do not.  Reads: time_ledger, tracks, run_totals.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW time_ledger_adds_up AS
WITH
    added AS (
        SELECT run, track, sum(dur_ns) AS causes_ns, min(dur_ns) AS least_ns
        FROM time_ledger
        GROUP BY run, track
    )
SELECT
    tracks.run,
    tracks.track,
    tracks.name,
    added.causes_ns,
    added.least_ns,
    run_totals.makespan_ns
FROM tracks
JOIN run_totals USING (run)
LEFT JOIN added USING (run, track)
WHERE
    tracks.kind IN ('stage', 'link')
    AND (
        coalesce(added.causes_ns, 0) <> run_totals.makespan_ns
        OR added.least_ns < 0
    );
