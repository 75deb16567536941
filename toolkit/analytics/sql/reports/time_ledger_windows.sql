-- The time ledger over time: what the stages and the links of each role did, window by window.
-- Empty below trace level `full`.
-- Grain: one row per run, kind of track, role, window and cause; `track` level in time_ledger_cells.
-- Reads: time_ledger_cells, tracks, run_totals, window_width.
-- Units: seconds; share of the window (the last one is cut at the makespan) x tracks of that role.
-- Definition: causes as in time_ledger; the shares of a window add up to 1.
CREATE OR REPLACE VIEW time_ledger_windows AS
WITH
    tracks_alike AS (
        SELECT run, kind, role, count(*) AS tracks
        FROM tracks
        WHERE kind IN ('stage', 'link')
        GROUP BY run, kind, role
    ),
    added AS (
        SELECT
            cells.run,
            tracks.kind,
            tracks.role,
            cells."window",
            cells.cause,
            sum(cells.dur_ns) AS dur_ns
        FROM time_ledger_cells AS cells
        JOIN tracks USING (run, track)
        GROUP BY cells.run, tracks.kind, tracks.role, cells."window", cells.cause
    )
SELECT
    added.run,
    added.kind,
    added.role,
    added."window" * width_ns / 1e9 AS from_s,
    least((added."window" + 1) * width_ns, run_totals.makespan_ns) / 1e9 AS until_s,
    added.cause,
    added.dur_ns / 1e9 AS dur_s,
    added.dur_ns / (
        (least((added."window" + 1) * width_ns, run_totals.makespan_ns)
            - added."window" * width_ns) * tracks_alike.tracks
    ) AS share
FROM added
JOIN tracks_alike
    ON tracks_alike.run = added.run
    AND tracks_alike.kind = added.kind
    AND tracks_alike.role IS NOT DISTINCT FROM added.role
JOIN run_totals ON run_totals.run = added.run
CROSS JOIN window_width
ORDER BY added.run, added.kind DESC, added.role, added."window", added.cause;
