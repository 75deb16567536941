-- How many microbatches each pipeline held over time, and what it lacked for one on every stage.
-- Grain: one row per pipeline and stretch in which nothing changed, from 0 to the makespan.
-- Reads: pipeline_batches, tracks, waits, requests, run_totals.
-- Units: nanoseconds.
-- Definition: `present` are between the stages, `admitted` have their place, `most` is the highest
-- `admitted` since the pipeline was last empty.  `lack` says why there is not one more: `empty`: none
-- is present; `nothing`: one for each stage is admitted, or more.  Else where the nearest of those to
-- come is: `transfer`: its KV cache is on its way to these token machines; `prompt`: its prompt is on
-- the prompt machines, or queues for them; `kv_room`: it waits for room for its KV cache.  Where none
-- is to come: `early_stop`: there were more, one has ended and none took its place; `fill`: there
-- were never more.
CREATE OR REPLACE VIEW pipeline_load AS
WITH
    pipelines AS (
        SELECT run, role, replica, count(*) AS stages
        FROM tracks
        WHERE kind = 'stage'
        GROUP BY run, role, replica
    ),
    batches AS (
        SELECT
            run,
            lead,
            min(arrival_ns) AS arrival_ns,
            min(start_ns) AS start_ns,
            max(prefill_end_ns) AS prefill_end_ns,
            max(kv_ready_ns) AS kv_ready_ns,
            any_value(replica) AS replica
        FROM requests
        GROUP BY run, lead
    ),
    to_come AS (
        SELECT
            pipelines.run,
            pipelines.role,
            pipelines.replica,
            stretch.place,
            stretch.from_ns,
            stretch.until_ns
        FROM batches
        JOIN pipelines
            ON pipelines.run = batches.run
            AND pipelines.role = 'token'
            AND pipelines.replica = batches.replica
        CROSS JOIN LATERAL (
            VALUES
                ('transfer', prefill_end_ns, kv_ready_ns),
                ('prompt', start_ns, prefill_end_ns),
                ('queue', arrival_ns, start_ns)
        ) AS stretch (place, from_ns, until_ns)
        WHERE batches.kv_ready_ns IS NOT NULL AND stretch.from_ns < stretch.until_ns
        UNION ALL
        SELECT
            pipelines.run,
            pipelines.role,
            pipelines.replica,
            'kv_room',
            waits.from_ns,
            waits.until_ns
        FROM waits
        JOIN requests USING (run, request)
        JOIN pipelines
            ON pipelines.run = waits.run
            AND (pipelines.role = 'prompt' OR pipelines.replica = requests.replica)
        WHERE waits.cause = 'kv_room'
    ),
    changes AS (
        SELECT run, role, replica, 0 AS at_ns, NULL AS what, 0 AS change
        FROM pipelines
        UNION ALL
        SELECT run, role, replica, from_ns, 'present', 1 FROM pipeline_batches
        UNION ALL
        SELECT run, role, replica, until_ns, 'present', -1 FROM pipeline_batches
        UNION ALL
        SELECT run, role, replica, entered_ns, 'admitted', 1 FROM pipeline_batches
        UNION ALL
        SELECT run, role, replica, until_ns, 'admitted', -1 FROM pipeline_batches
        UNION ALL
        SELECT run, role, replica, from_ns, place, 1 FROM to_come
        UNION ALL
        SELECT run, role, replica, until_ns, place, -1 FROM to_come
    ),
    moments AS (
        SELECT
            run,
            role,
            replica,
            at_ns,
            coalesce(sum(change) FILTER (what = 'present'), 0) AS present,
            coalesce(sum(change) FILTER (what = 'admitted'), 0) AS admitted,
            coalesce(sum(change) FILTER (what = 'transfer'), 0) AS on_link,
            coalesce(sum(change) FILTER (what = 'prompt'), 0) AS in_prompt,
            coalesce(sum(change) FILTER (what = 'kv_room'), 0) AS for_room,
            coalesce(sum(change) FILTER (what = 'queue'), 0) AS in_queue
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
            sum(on_link) OVER in_time AS on_link,
            sum(in_prompt) OVER in_time AS in_prompt,
            sum(for_room) OVER in_time AS for_room,
            sum(in_queue) OVER in_time AS in_queue
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
        WHEN peaks.on_link > 0 THEN 'transfer'
        WHEN peaks.in_prompt > 0 THEN 'prompt'
        WHEN peaks.for_room > 0 THEN 'kv_room'
        WHEN peaks.in_queue > 0 THEN 'prompt'
        WHEN peaks.admitted < peaks.most THEN 'early_stop'
        ELSE 'fill'
    END AS lack
FROM peaks
JOIN pipelines USING (run, role, replica)
JOIN run_totals USING (run);
