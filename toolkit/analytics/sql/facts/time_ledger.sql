-- What became of every nanosecond of every stage and every link between 0 and the makespan.
-- Grain: one row per track and cause that took time.
-- Reads: totals, tracks, run_totals, runs, idle_cells, stage_time.
-- Units: nanoseconds; those of a track add up to the makespan exactly.
-- Definition: a stage works (`prefill`, `decode`, `mixed`: both in one step, `swapping`, `lost`: work
-- that a failure undid, `other`: a name of another tool's) or stands still for a cause of idle_causes.  Below trace level `full` the
-- spans that would tell causes apart are not there: `bubble` is all idleness with work in the
-- pipeline, `waiting` that with none before the pipeline's last request, in the pipelines of a split
-- deployment.  A link carries (`transfer`) or has nothing to carry (`no_work`).  `use` puts causes
-- together: useful, bubble, transfer (blocked_transfer and swapping too), memory (blocked_kv),
-- failure (lost, failed, starting), idle (no_work, waiting, and `unexplained`, which imported runs have).
CREATE OR REPLACE VIEW time_ledger AS
WITH
    worked AS (
        SELECT
            run,
            track,
            CASE
                WHEN track_kind = 'link' THEN 'transfer'
                WHEN name IN ('prefill', 'decode', 'mixed', 'lost') THEN name
                WHEN starts_with(name, 'swap') THEN 'swapping'
                ELSE 'other'
            END AS cause,
            busy_ns AS dur_ns
        FROM totals
        WHERE
            track_kind = 'link'
            OR (track_kind = 'stage' AND name NOT IN ('failed', 'starting'))
    ),
    links_idle AS (
        SELECT tracks.run, tracks.track, run_totals.makespan_ns - coalesce(sum(worked.dur_ns), 0)
            AS dur_ns
        FROM tracks
        JOIN run_totals USING (run)
        LEFT JOIN worked USING (run, track)
        WHERE tracks.kind = 'link'
        GROUP BY tracks.run, tracks.track, run_totals.makespan_ns
    ),
    entries AS (
        SELECT run, track, cause, dur_ns FROM worked
        UNION ALL
        SELECT run, track, 'no_work', dur_ns FROM links_idle
        UNION ALL
        SELECT run, track, cause, dur_ns FROM idle_cells
        UNION ALL
        SELECT
            stage_time.run,
            stage_time.track,
            CASE
                WHEN stage_time.part = 'bubble' THEN 'bubble'
                WHEN stage_time.part = 'idle' THEN 'unexplained'
                WHEN stage_time.part = 'waiting' AND stage_time.role <> 'colocated' THEN 'waiting'
                ELSE 'no_work'
            END,
            stage_time.dur_ns
        FROM stage_time
        JOIN runs USING (run)
        WHERE stage_time.part IN ('bubble', 'waiting', 'finished', 'idle') AND runs.level <> 'full'
    )
SELECT
    tracks.run,
    tracks.track,
    tracks.kind,
    tracks.name AS track_name,
    tracks.machine,
    tracks.machine_name,
    tracks.role,
    tracks.replica,
    entries.cause,
    CASE
        WHEN entries.cause IN ('prefill', 'decode', 'mixed', 'other') THEN 'useful'
        WHEN entries.cause IN (
            'fill', 'drain', 'imbalance', 'early_stop', 'starved', 'head_of_line', 'bubble'
        ) THEN 'bubble'
        WHEN entries.cause IN ('transfer', 'blocked_transfer', 'swapping') THEN 'transfer'
        WHEN entries.cause = 'blocked_kv' THEN 'memory'
        WHEN entries.cause IN ('lost', 'failed', 'starting') THEN 'failure'
        ELSE 'idle'
    END AS use,
    sum(entries.dur_ns)::BIGINT AS dur_ns
FROM entries
JOIN tracks USING (run, track)
GROUP BY
    tracks.run,
    tracks.track,
    tracks.kind,
    tracks.name,
    tracks.machine,
    tracks.machine_name,
    tracks.role,
    tracks.replica,
    entries.cause
HAVING sum(entries.dur_ns) > 0;
