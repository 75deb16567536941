-- The time ledger over time, before anything is added up: each stretch cut at the windows' edges.
-- At trace level `full` only.
-- Grain: one row per track, window and cause that took time in it.
-- Reads: time_ledger_intervals, window_width.
-- Units: nanoseconds; a window is `window` x width_ns .. (`window` + 1) x width_ns.
CREATE OR REPLACE VIEW time_ledger_cells AS
WITH
    placed AS (
        SELECT
            run,
            track,
            cause,
            from_ns,
            until_ns,
            from_ns // width_ns AS first_window,
            (until_ns - 1) // width_ns AS last_window,
            width_ns
        FROM time_ledger_intervals
        CROSS JOIN window_width
    ),
    cut AS (
        SELECT run, track, cause, first_window AS "window", until_ns - from_ns AS dur_ns
        FROM placed
        WHERE first_window = last_window
        UNION ALL
        SELECT
            placed.run,
            placed.track,
            placed.cause,
            step.number,
            least(placed.until_ns, (step.number + 1) * placed.width_ns)
                - greatest(placed.from_ns, step.number * placed.width_ns)
        FROM placed
        CROSS JOIN LATERAL range(placed.first_window, placed.last_window + 1) AS step (number)
        WHERE placed.first_window < placed.last_window
    )
SELECT run, track, "window", cause, sum(dur_ns)::BIGINT AS dur_ns
FROM cut
GROUP BY run, track, "window", cause;
