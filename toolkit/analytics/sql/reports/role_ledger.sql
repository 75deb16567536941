-- Where the time of the stages, and of the links, of each role went.
-- Grain: one row per run, kind of track, role and cause.  Reads: time_ledger, tracks, run_totals.
-- Units: seconds, summed over tracks; share of tracks x makespan.
-- Definition: causes and uses as in time_ledger.
CREATE OR REPLACE VIEW role_ledger AS
WITH
    alike AS (
        SELECT run, kind, role, count(*) AS tracks
        FROM tracks
        WHERE kind IN ('stage', 'link')
        GROUP BY run, kind, role
    ),
    added AS (
        SELECT run, kind, role, cause, use, sum(dur_ns)::BIGINT AS dur_ns
        FROM time_ledger
        GROUP BY run, kind, role, cause, use
    )
SELECT
    added.run,
    added.kind,
    added.role,
    alike.tracks,
    added.cause,
    added.use,
    added.dur_ns / 1e9 AS dur_s,
    added.dur_ns / nullif(alike.tracks * run_totals.makespan_ns, 0) AS share
FROM added
JOIN alike
    ON alike.run = added.run
    AND alike.kind = added.kind
    AND alike.role IS NOT DISTINCT FROM added.role
JOIN run_totals ON run_totals.run = added.run
ORDER BY added.run, added.kind DESC, added.role, added.cause;
