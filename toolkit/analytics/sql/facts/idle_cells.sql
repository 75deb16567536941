-- Why each stage stood still, window by window: idle_causes added up.  At level `full` only.
-- Grain: one row per stage, window of window_width, cause, and whether there was work in the stage's
-- pipeline.
-- Reads: idle_causes, window_width.
-- Units: nanoseconds; a window is `window` x width_ns .. (`window` + 1) x width_ns.
-- Definition: causes as in idle_causes.
CREATE OR REPLACE VIEW idle_cells AS
WITH
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
        FROM idle_causes
        CROSS JOIN window_width
    )
SELECT
    run,
    track,
    "window",
    cause,
    in_pipeline,
    sum(
        least(until_ns, ("window" + 1) * width_ns) - greatest(from_ns, "window" * width_ns)
    )::BIGINT AS dur_ns
FROM placed
GROUP BY run, track, "window", cause, in_pipeline;
