-- Why each stage stood still: every pause, cut wherever its cause may change.  At level `full` only.
-- Grain: one row per stage and stretch of one cause; neighbours may have the same.
-- Reads: idle_intervals, pipeline_load, tracks, runs, requests, waits, spans, unexplained_stages,
-- down_times.
-- Units: nanoseconds; `in_pipeline`: there was work in the stage's pipeline, so this is a bubble.
-- Definition: a stage stands still for the microbatch that it works for next; what that one did
-- meanwhile is the cause.  The first of these that holds: `head_of_line`: another was ready for this
-- stage and had to let it pass first (dejavu).  `failed`: a machine of the pipeline was down or its
-- caches were on their way back; on the machine itself `failed` until that is noticed, `starting` until
-- it is back, whether there was work or not.  `swapping`: its KV cache was on its way from the host.
-- `blocked_kv`:
-- it waited for room for its KV cache.  `blocked_transfer`: its KV cache was on its way, or it waited
-- for a link.  Then, with nothing in the stage's pipeline: `no_work`: it had not arrived, its
-- microbatch was still filling up, or there is none; `starved`: its prompt was queueing or running
-- on the prompt machines.  With work in the pipeline: `fill`: before the stage's first work since
-- the pipeline was empty; `drain`: after its last before the pipeline is empty; `blocked_transfer`:
-- it was on the link from the stage before; `imbalance`: it waited behind another microbatch at
-- another stage, or was on its way over the others though the pipeline held one for every stage.
-- Else the pipeline held fewer than it has stages, and where one more would have come from
-- (pipeline_load) is the cause: `blocked_transfer`, `starved`, `blocked_kv`; or, where none was to
-- come, `early_stop`: there had been more, and one had ended; `fill`: there had never been more.
-- An imported run does not say what its requests waited for: there `bubble` is any pause with work in
-- the pipeline, `waiting` one with none before more work on a stage of a split deployment, `no_work`
-- any other; and all pauses of unexplained_stages are `unexplained`.
CREATE OR REPLACE VIEW idle_causes AS
WITH
    pauses AS (
        SELECT
            idle_intervals.run,
            idle_intervals.track,
            idle_intervals.from_ns,
            idle_intervals.until_ns,
            idle_intervals.next_request,
            idle_intervals.next_step,
            tracks.role,
            tracks.replica
        FROM idle_intervals
        JOIN tracks USING (run, track)
        JOIN runs USING (run)
        ANTI JOIN unexplained_stages USING (run, track)
        WHERE runs.level = 'full'
    ),
    -- When the next microbatch got onto the link that leads here.
    handed_over AS (
        SELECT pauses.run, pauses.track, pauses.until_ns, min(spans.ts_ns) AS at_ns
        FROM pauses
        JOIN spans
            ON spans.run = pauses.run
            AND spans.step = pauses.next_step
            AND spans.end_ns = pauses.until_ns
        WHERE spans.name = 'activation' AND spans.track_kind = 'link'
        GROUP BY pauses.run, pauses.track, pauses.until_ns
    ),
    awaited AS (
        SELECT DISTINCT run, track, next_request
        FROM pauses
    ),
    -- What a microbatch waited for ends before it gets to a stage: each wait belongs to one pause.
    waited AS (
        SELECT
            each.run,
            each.track,
            pauses.until_ns,
            pauses.from_ns AS pause_ns,
            each.from_ns AS since_ns,
            each.until_ns AS over_ns,
            each.cause
        FROM (
            SELECT
                waits.run,
                awaited.track,
                waits.request,
                waits.from_ns,
                waits.until_ns,
                waits.cause
            FROM waits
            JOIN awaited ON awaited.run = waits.run AND awaited.next_request = waits.request
        ) AS each
        ASOF JOIN pauses
            ON pauses.run = each.run
            AND pauses.track = each.track
            AND pauses.next_request = each.request
            AND pauses.until_ns >= each.until_ns
        WHERE each.until_ns > pauses.from_ns
    ),
    passed_over AS (
        SELECT run, on_track AS track, until_ns, min(from_ns) AS at_ns
        FROM waits
        WHERE cause = 'head_of_line'
        GROUP BY run, on_track, until_ns
    ),
    begun AS (
        SELECT
            pauses.run,
            pauses.track,
            pauses.from_ns,
            pauses.until_ns,
            CASE
                WHEN pauses.next_request IS NULL THEN 'nobody'
                WHEN requests.arrival_ns > pauses.from_ns THEN 'absent'
                ELSE 'on_its_way'
            END AS state,
            coalesce(pipeline_load.lack, 'empty') AS lack,
            requests.arrival_ns
        FROM pauses
        LEFT JOIN requests
            ON requests.run = pauses.run AND requests.request = pauses.next_request
        ASOF LEFT JOIN pipeline_load
            ON pipeline_load.run = pauses.run
            AND pipeline_load.role = pauses.role
            AND pipeline_load.replica = pauses.replica
            AND pipeline_load.from_ns <= pauses.from_ns
    ),
    loads AS (
        SELECT
            tracks.run,
            tracks.track,
            pipeline_load.from_ns AS at_ns,
            pipeline_load.lack
        FROM pipeline_load
        JOIN tracks USING (run, role, replica)
        WHERE tracks.kind = 'stage'
    ),
    -- What may change a cause within a pause, but for the hand-over.
    events AS (
        SELECT run, track, until_ns, arrival_ns AS at_ns, 'on_its_way' AS state, NULL AS lack,
            NULL::BOOLEAN AS passed
        FROM begun
        WHERE state = 'absent' AND arrival_ns < until_ns
        UNION ALL
        SELECT run, track, until_ns, greatest(since_ns, pause_ns), cause, NULL, NULL
        FROM waited
        UNION ALL
        SELECT run, track, until_ns, over_ns, 'on_its_way', NULL, NULL
        FROM waited
        WHERE over_ns < until_ns
        UNION ALL
        SELECT
            passed_over.run,
            passed_over.track,
            passed_over.until_ns,
            greatest(passed_over.at_ns, pauses.from_ns),
            NULL,
            NULL,
            true
        FROM passed_over
        JOIN pauses USING (run, track, until_ns)
        UNION ALL
        SELECT loads.run, loads.track, pauses.until_ns, loads.at_ns, NULL, loads.lack, NULL
        FROM loads
        ASOF JOIN pauses
            ON pauses.run = loads.run
            AND pauses.track = loads.track
            AND pauses.from_ns < loads.at_ns
        WHERE pauses.until_ns > loads.at_ns
    ),
    eventful AS (
        SELECT DISTINCT run, track, until_ns
        FROM events
    ),
    -- Most pauses hold nothing but a hand-over: they need no order of changes.
    begun_and_handed AS (
        SELECT
            begun.*,
            CASE WHEN handed_over.at_ns IS NOT NULL THEN
                greatest(handed_over.at_ns, begun.from_ns)
            END AS handed_ns,
            eventful.run IS NOT NULL AS eventful
        FROM begun
        LEFT JOIN handed_over USING (run, track, until_ns)
        LEFT JOIN eventful USING (run, track, until_ns)
    ),
    changes AS (
        SELECT run, track, until_ns, from_ns AS at_ns, state, lack, false AS passed
        FROM begun_and_handed
        WHERE eventful
        UNION ALL
        SELECT run, track, until_ns, handed_ns, 'handed_over', NULL, NULL
        FROM begun_and_handed
        WHERE eventful AND handed_ns IS NOT NULL
        UNION ALL
        SELECT run, track, until_ns, at_ns, state, lack, passed
        FROM events
    ),
    -- Of changes at one moment the last in this order has taken in the others; pieces that end where
    -- they begin are dropped below.
    ordered AS (
        SELECT
            run,
            track,
            at_ns AS from_ns,
            lead(at_ns, 1, until_ns) OVER in_time AS until_ns,
            first_value(at_ns) OVER in_time = 0 AS first_work,
            last_value(state IGNORE NULLS) OVER in_time AS state,
            last_value(lack IGNORE NULLS) OVER in_time AS lack,
            last_value(passed IGNORE NULLS) OVER in_time AS passed,
            count(*) FILTER (lack = 'empty') OVER in_time > 0 AS was_empty,
            count(*) FILTER (lack = 'empty') OVER (
                PARTITION BY run, track, until_ns
            ) > count(*) FILTER (lack = 'empty') OVER in_time AS will_be_empty
        FROM changes
        WINDOW in_time AS (
            PARTITION BY run, track, until_ns
            ORDER BY at_ns, state = 'on_its_way' DESC, state
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        )
    ),
    pieces AS (
        SELECT * FROM ordered
        UNION ALL
        SELECT
            run,
            track,
            from_ns,
            coalesce(handed_ns, until_ns),
            from_ns = 0,
            state,
            lack,
            false,
            lack = 'empty',
            false
        FROM begun_and_handed
        WHERE NOT eventful
        UNION ALL
        SELECT
            run,
            track,
            handed_ns,
            until_ns,
            from_ns = 0,
            'handed_over',
            lack,
            false,
            lack = 'empty',
            false
        FROM begun_and_handed
        WHERE NOT eventful AND handed_ns IS NOT NULL
    ),
    explained AS (
SELECT
    pieces.run,
    pieces.track,
    pieces.from_ns,
    pieces.until_ns,
    CASE
        WHEN runs.source IS NOT NULL THEN
            CASE
                WHEN pieces.lack <> 'empty' THEN 'bubble'
                WHEN tracks.role <> 'colocated' AND pieces.state <> 'nobody' THEN 'waiting'
                ELSE 'no_work'
            END
        WHEN pieces.passed THEN 'head_of_line'
        WHEN pieces.state IN ('failed', 'recovering') THEN 'failed'
        WHEN pieces.state = 'swapped' THEN 'swapping'
        WHEN pieces.state IN ('kv_room', 'preempted') THEN 'blocked_kv'
        WHEN pieces.state IN ('transfer', 'link_busy') THEN 'blocked_transfer'
        WHEN pieces.lack = 'empty' AND pieces.state IN ('nobody', 'absent', 'packing')
            THEN 'no_work'
        WHEN pieces.lack = 'empty' AND tracks.role = 'token' THEN 'starved'
        WHEN pieces.lack = 'empty' THEN 'no_work'
        WHEN pieces.first_work OR pieces.was_empty THEN 'fill'
        WHEN pieces.state = 'nobody' OR pieces.will_be_empty THEN 'drain'
        WHEN pieces.state = 'handed_over' THEN 'blocked_transfer'
        WHEN pieces.state IN ('behind_prompt', 'behind_batch') THEN 'imbalance'
        WHEN pieces.lack = 'nothing' THEN 'imbalance'
        WHEN pieces.lack = 'transfer' THEN 'blocked_transfer'
        WHEN pieces.lack = 'prompt' THEN 'starved'
        WHEN pieces.lack = 'kv_room' THEN 'blocked_kv'
        ELSE pieces.lack
    END AS cause,
    pieces.lack <> 'empty' AS in_pipeline
FROM pieces
JOIN tracks USING (run, track)
JOIN runs USING (run)
WHERE pieces.until_ns > pieces.from_ns
    ),
    -- What a machine's own down time takes away from a pause.
    overlaid AS (
        SELECT
            explained.run,
            explained.track,
            explained.from_ns,
            explained.until_ns,
            explained.in_pipeline,
            explained.cause,
            list(struct_pack(
                since_ns := greatest(down_times.from_ns, explained.from_ns),
                over_ns := least(down_times.until_ns, explained.until_ns),
                cause := down_times.cause
            ) ORDER BY down_times.from_ns) AS downs
        FROM explained
        JOIN down_times
            ON down_times.run = explained.run
            AND down_times.track = explained.track
            AND down_times.from_ns < explained.until_ns
            AND down_times.until_ns > explained.from_ns
        GROUP BY ALL
    ),
    between AS (
        SELECT
            run,
            track,
            unnest(list_zip(
                list_concat([from_ns], list_transform(downs, lambda it: it.over_ns)),
                list_concat(list_transform(downs, lambda it: it.since_ns), [until_ns])
            )) AS stretch,
            cause,
            in_pipeline
        FROM overlaid
    )
SELECT run, track, from_ns, until_ns, cause, in_pipeline
FROM explained
ANTI JOIN overlaid USING (run, track, from_ns, until_ns)
UNION ALL
SELECT run, track, down.since_ns, down.over_ns, down.cause, in_pipeline
FROM (SELECT run, track, unnest(downs) AS down, in_pipeline FROM overlaid)
UNION ALL
SELECT run, track, stretch[1], stretch[2], cause, in_pipeline
FROM between
WHERE stretch[1] < stretch[2]
UNION ALL
SELECT idle_intervals.run, track, from_ns, until_ns, 'unexplained', false
FROM idle_intervals
SEMI JOIN unexplained_stages USING (run, track)
JOIN runs USING (run)
WHERE runs.level = 'full';
