-- How many microbatches each pipeline held over time, and what it lacked for one on every stage.
-- Grain: one row per pipeline and stretch in which nothing changed, from 0 to the makespan.
-- Reads: pipeline_batches, tracks, waits, requests, run_totals.
-- Units: nanoseconds.
-- Definition: `present` are between the stages, `admitted` have their place, `most` is the highest
-- `admitted` since the pipeline was last empty.  `lack` says why no more are there: `empty`: none is
-- present; `nothing`: one for each stage is admitted, or more; `kv_room`: one waits for room for its
-- KV cache; `early_stop`: there were more, one has ended and none took its place; `fill`: there were
-- never more.
CREATE OR REPLACE VIEW pipeline_load AS
WITH
    pipelines AS (
        SELECT run, role, replica, count(*) AS stages
        FROM tracks
        WHERE kind = 'stage'
        GROUP BY run, role, replica
    ),
    no_room AS (
        SELECT
            pipelines.run,
            pipelines.role,
            pipelines.replica,
            waits.from_ns,
            waits.until_ns
        FROM waits
        JOIN requests USING (run, request)
        JOIN pipelines
            ON pipelines.run = waits.run
            AND (pipelines.role <> 'colocated' OR pipelines.replica = requests.replica)
        WHERE waits.cause = 'kv_room'
    ),
    changes AS (
        SELECT run, role, replica, 0 AS at_ns, 0 AS present, 0 AS admitted, 0 AS waiting
        FROM pipelines
        UNION ALL
        SELECT run, role, replica, from_ns, 1, 0, 0 FROM pipeline_batches
        UNION ALL
        SELECT run, role, replica, entered_ns, 0, 1, 0 FROM pipeline_batches
        UNION ALL
        SELECT run, role, replica, until_ns, -1, -1, 0 FROM pipeline_batches
        UNION ALL
        SELECT run, role, replica, from_ns, 0, 0, 1 FROM no_room
        UNION ALL
        SELECT run, role, replica, until_ns, 0, 0, -1 FROM no_room
    ),
    moments AS (
        SELECT
            run,
            role,
            replica,
            at_ns,
            sum(present) AS present,
            sum(admitted) AS admitted,
            sum(waiting) AS waiting
        FROM changes
        GROUP BY run, role, replica, at_ns
    ),
    levels AS (
        SELECT
            run,
            role,
            replica,
            at_ns AS from_ns,
            lead(at_ns) OVER in_time AS until_ns,
            sum(present) OVER in_time AS present,
            sum(admitted) OVER in_time AS admitted,
            sum(waiting) OVER in_time AS waiting
        FROM moments
        WINDOW in_time AS (PARTITION BY run, role, replica ORDER BY at_ns)
    ),
    stretches AS (
        SELECT
            *,
            count(*) FILTER (present = 0) OVER (
                PARTITION BY run, role, replica ORDER BY from_ns
            ) AS stretch
        FROM levels
    ),
    peaks AS (
        SELECT
            *,
            max(admitted) OVER (
                PARTITION BY run, role, replica, stretch ORDER BY from_ns
            ) AS most
        FROM stretches
    )
SELECT
    peaks.run,
    peaks.role,
    peaks.replica,
    peaks.from_ns,
    coalesce(peaks.until_ns, run_totals.makespan_ns) AS until_ns,
    pipelines.stages,
    peaks.present::BIGINT AS present,
    peaks.admitted::BIGINT AS admitted,
    peaks.most::BIGINT AS most,
    CASE
        WHEN peaks.present = 0 THEN 'empty'
        WHEN peaks.admitted >= pipelines.stages THEN 'nothing'
        WHEN peaks.waiting > 0 THEN 'kv_room'
        WHEN peaks.admitted < peaks.most THEN 'early_stop'
        ELSE 'fill'
    END AS lack
FROM peaks
JOIN pipelines USING (run, role, replica)
JOIN run_totals USING (run);
