-- What each stage and each link did at every moment between 0 and the makespan, and why it stood
-- still where it did.  At trace level `full` only: elsewhere spans are not all kept.
-- Grain: one row per track and stretch of one cause (neighbours may have the same); the stretches of
-- a track cover 0 .. makespan.
-- Reads: spans, runs, tracks, run_totals, idle_causes.
-- Units: nanoseconds.
-- Definition: causes as in time_ledger.
CREATE OR REPLACE VIEW time_ledger_intervals AS
WITH
    carried AS (
        SELECT
            spans.run,
            spans.track,
            spans.ts_ns,
            spans.end_ns,
            coalesce(lag(spans.end_ns) OVER in_time, 0) AS idle_ns
        FROM spans
        JOIN runs USING (run)
        WHERE spans.track_kind = 'link' AND spans.depth = 0 AND runs.level = 'full'
        WINDOW in_time AS (PARTITION BY spans.run, spans.track ORDER BY spans.ts_ns, spans.end_ns)
    ),
    last_carried AS (
        SELECT run, track, max(end_ns) AS end_ns
        FROM carried
        GROUP BY run, track
    )
SELECT
    spans.run,
    spans.track,
    spans.ts_ns AS from_ns,
    spans.end_ns AS until_ns,
    CASE
        WHEN spans.name IN ('prefill', 'decode', 'mixed', 'lost') THEN spans.name
        WHEN starts_with(spans.name, 'swap') THEN 'swapping'
        ELSE 'other'
    END AS cause
FROM spans
JOIN runs USING (run)
WHERE
    spans.track_kind = 'stage'
    AND spans.depth = 0
    AND spans.dur_ns > 0
    AND spans.name NOT IN ('failed', 'starting')
    AND runs.level = 'full'
UNION ALL
SELECT run, track, from_ns, until_ns, cause
FROM idle_causes
UNION ALL
SELECT run, track, ts_ns, end_ns, 'transfer'
FROM carried
WHERE end_ns > ts_ns
UNION ALL
SELECT run, track, idle_ns, ts_ns, 'no_work'
FROM carried
WHERE ts_ns > idle_ns
UNION ALL
SELECT
    tracks.run,
    tracks.track,
    coalesce(last_carried.end_ns, 0),
    run_totals.makespan_ns,
    'no_work'
FROM tracks
JOIN runs USING (run)
JOIN run_totals USING (run)
LEFT JOIN last_carried USING (run, track)
WHERE
    tracks.kind = 'link'
    AND runs.level = 'full'
    AND run_totals.makespan_ns > coalesce(last_carried.end_ns, 0);
