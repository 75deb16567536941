-- Stages of imported runs that worked at a time when no request is known to have been in their
-- pipeline: what they stood still for between is not known either.
-- Grain: one row per such stage.  Reads: runs, spans, tracks, pipeline_presence.
-- Units: none; times are compared in nanoseconds.
-- Definition: a span of depth 0 that does not lie inside one stretch in which entries follow one
-- another in the pipeline without a gap (pipeline_presence).
CREATE OR REPLACE VIEW unexplained_stages AS
WITH
    imported AS (
        SELECT run
        FROM runs
        WHERE source IS NOT NULL
    ),
    worked AS (
        SELECT spans.run, spans.track, tracks.role, tracks.replica, spans.ts_ns, spans.end_ns
        FROM spans
        SEMI JOIN imported USING (run)
        JOIN tracks USING (run, track)
        WHERE spans.track_kind = 'stage' AND spans.depth = 0
    ),
    numbered AS (
        SELECT
            run,
            role,
            replica,
            from_ns,
            until_ns,
            count(*) FILTER (until_before_ns IS NULL OR until_before_ns < from_ns) OVER (
                PARTITION BY run, role, replica ORDER BY from_ns, until_ns
                ROWS UNBOUNDED PRECEDING
            ) AS stretch
        FROM pipeline_presence
        SEMI JOIN imported USING (run)
    ),
    stretches AS (
        SELECT run, role, replica, min(from_ns) AS from_ns, max(until_ns) AS until_ns
        FROM numbered
        GROUP BY run, role, replica, stretch
    )
SELECT DISTINCT worked.run, worked.track
FROM worked
ASOF LEFT JOIN stretches
    ON stretches.run = worked.run
    AND stretches.role = worked.role
    AND stretches.replica = worked.replica
    AND stretches.from_ns <= worked.ts_ns
WHERE stretches.run IS NULL OR worked.end_ns > stretches.until_ns;
