-- The time ledger over time, cut at the edges of windows of window_width.  At trace level `full`
-- only.
-- Grain: one row per track, window and cause that took time in it.
-- Reads: spans, runs, idle_cells, tracks, run_totals, window_width.
-- Units: nanoseconds; a window is `window` x width_ns .. (`window` + 1) x width_ns.
-- Definition: causes as in time_ledger; the windows of time_ledger_intervals, added up.
CREATE OR REPLACE VIEW time_ledger_cells AS
WITH
    stretches AS (
        SELECT
            spans.run,
            spans.track,
            spans.track_kind = 'link' AS carried,
            spans.name AS cause,
            spans.ts_ns AS from_ns,
            spans.end_ns AS until_ns
        FROM spans
        JOIN runs USING (run)
        WHERE
            spans.track_kind IN ('stage', 'link')
            AND spans.depth = 0
            AND spans.dur_ns > 0
            AND spans.name NOT IN ('failed', 'starting')
            AND runs.level = 'full'
    ),
    placed AS (
        SELECT
            *,
            -- Few lie in several windows; a list of one costs little.
            unnest(
                CASE
                    WHEN until_ns <= (from_ns // width_ns + 1) * width_ns
                        THEN [from_ns // width_ns]
                    ELSE range(from_ns // width_ns, (until_ns - 1) // width_ns + 1)
                END
            ) AS "window"
        FROM stretches
        CROSS JOIN window_width
    ),
    added AS (
        SELECT
            run,
            track,
            carried,
            cause,
            "window",
            sum(
                least(until_ns, ("window" + 1) * width_ns) - greatest(from_ns, "window" * width_ns)
            )::BIGINT AS dur_ns
        FROM placed
        GROUP BY run, track, carried, cause, "window"
    ),
    links AS (
        SELECT
            tracks.run,
            tracks.track,
            step.number AS "window",
            least((step.number + 1) * width_ns, run_totals.makespan_ns) - step.number * width_ns
                AS dur_ns
        FROM tracks
        JOIN runs USING (run)
        JOIN run_totals USING (run)
        CROSS JOIN window_width
        CROSS JOIN LATERAL range(
            (run_totals.makespan_ns + width_ns - 1) // width_ns
        ) AS step (number)
        WHERE tracks.kind = 'link' AND runs.level = 'full'
    ),
    entries AS (
        SELECT
            run,
            track,
            "window",
            CASE
                WHEN carried THEN 'transfer'
                WHEN cause IN ('prefill', 'decode', 'mixed', 'lost') THEN cause
                WHEN starts_with(cause, 'swap') THEN 'swapping'
                ELSE 'other'
            END AS cause,
            dur_ns
        FROM added
        UNION ALL
        SELECT run, track, "window", cause, dur_ns
        FROM idle_cells
        UNION ALL
        SELECT links.run, links.track, links."window", 'no_work', links.dur_ns
        FROM links
        UNION ALL
        SELECT run, track, "window", 'no_work', -dur_ns
        FROM added
        WHERE carried
    )
SELECT run, track, "window", cause, sum(dur_ns)::BIGINT AS dur_ns
FROM entries
GROUP BY run, track, "window", cause
HAVING sum(dur_ns) > 0;
