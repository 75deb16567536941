-- Why each stage stood still: every pause, cut wherever its cause may change.  At level `full` only.
-- Grain: one row per stage and stretch of one cause; neighbours may have the same.
-- Reads: idle_intervals, pause_moments, pipeline_load, tracks, runs, requests, waits, spans,
-- unexplained_stages, engine_moments, down_times.
-- Units: nanoseconds; `in_pipeline`: there was work in the stage's pipeline, so this is a bubble.
-- Definition: a stage stands still for the microbatch that it works for next; what that one did
-- meanwhile is the cause.  The first of these that holds: `head_of_line`: another was ready for this
-- stage and had to let it pass first (dejavu).  `failed`: a machine of the pipeline was down or its
-- caches were on their way back; on the machine itself `failed` until that is noticed, `starting` until
-- it is back, whether there was work or not.  `swapping`: its KV cache was on its way from the host.
-- `blocked_kv`: it waited for room for its KV cache.  `blocked_transfer`: its KV cache was on its way, or it waited
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
-- any other; and all pauses of unexplained_stages are `unexplained`.  Of engines with continuous
-- batching: see engine_moments.
CREATE OR REPLACE VIEW idle_causes AS
WITH
    -- When each microbatch got onto the link between two stages.
    handed_over AS (
        SELECT spans.run, spans.step, spans.ts_ns, spans.end_ns
        FROM spans
        JOIN runs USING (run)
        WHERE
            spans.track_kind = 'link'
            AND spans.name = 'activation'
            AND spans.dur_ns > 0
            AND runs.source IS NULL
    ),
    -- Every pause as it begins, with the last moment in it or before it, and the hand-over in it.
    pauses AS (
        SELECT
            pauses.run,
            pauses.track,
            pauses.from_ns,
            pauses.until_ns,
            pauses.next_request,
            requests.arrival_ns,
            CASE
                WHEN unexplained_stages.run IS NOT NULL THEN 'unexplained'
                WHEN runs.batching = 'continuous' THEN 'engine'
                WHEN pauses.next_request IS NULL THEN 'nobody'
                WHEN requests.arrival_ns > pauses.from_ns THEN 'absent'
                ELSE 'on_its_way'
            END AS state,
            coalesce(moments.lack, 'empty') AS lack,
            CASE WHEN handed_over.ts_ns IS NOT NULL THEN
                greatest(handed_over.ts_ns, pauses.from_ns)
            END AS handed_ns,
            unexplained_stages.run IS NULL
            AND runs.batching = 'microbatch'
            AND (
                coalesce(moments.at_ns > pauses.from_ns, false)
                OR coalesce(
                    requests.arrival_ns > pauses.from_ns
                    AND requests.arrival_ns < pauses.until_ns,
                    false
                )
            ) AS eventful
        FROM idle_intervals AS pauses
        ASOF LEFT JOIN pause_moments AS moments
            ON moments.run = pauses.run
            AND moments.track = pauses.track
            AND moments.at_ns <= pauses.until_ns
        JOIN runs ON runs.run = pauses.run
        LEFT JOIN unexplained_stages
            ON unexplained_stages.run = pauses.run AND unexplained_stages.track = pauses.track
        LEFT JOIN requests
            ON requests.run = pauses.run AND requests.request = pauses.next_request
        LEFT JOIN handed_over
            ON handed_over.run = pauses.run
            AND handed_over.step = pauses.next_step
            AND handed_over.end_ns = pauses.until_ns
        WHERE runs.level = 'full'
    ),
    -- Most pauses hold nothing but a hand-over; only these need an order of changes.
    eventful AS (
        SELECT run, track, from_ns, until_ns, next_request, arrival_ns, state, handed_ns
        FROM pauses
        WHERE eventful
    ),
    awaited AS (
        SELECT DISTINCT run, track, next_request
        FROM eventful
    ),
    -- What a microbatch waited for ends before it gets to a stage: each wait belongs to one pause.
    waited AS (
        SELECT
            each.run,
            each.track,
            eventful.until_ns,
            eventful.from_ns AS pause_ns,
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
        ASOF JOIN eventful
            ON eventful.run = each.run
            AND eventful.track = each.track
            AND eventful.next_request = each.request
            AND eventful.until_ns >= each.until_ns
        WHERE each.until_ns > eventful.from_ns
    ),
    passed_over AS (
        SELECT run, on_track AS track, until_ns, min(from_ns) AS at_ns
        FROM waits
        WHERE cause = 'head_of_line'
        GROUP BY run, on_track, until_ns
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
    changes AS (
        SELECT
            eventful.run,
            eventful.track,
            eventful.until_ns,
            eventful.from_ns AS at_ns,
            eventful.state,
            coalesce(loads.lack, 'empty') AS lack,
            false AS passed
        FROM eventful
        ASOF LEFT JOIN loads
            ON loads.run = eventful.run
            AND loads.track = eventful.track
            AND loads.at_ns <= eventful.from_ns
        UNION ALL
        SELECT run, track, until_ns, arrival_ns, 'on_its_way', NULL, NULL
        FROM eventful
        WHERE state = 'absent' AND arrival_ns < until_ns
        UNION ALL
        SELECT run, track, until_ns, handed_ns, 'handed_over', NULL, NULL
        FROM eventful
        WHERE handed_ns IS NOT NULL
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
            greatest(passed_over.at_ns, eventful.from_ns),
            NULL,
            NULL,
            true
        FROM passed_over
        JOIN eventful USING (run, track, until_ns)
        UNION ALL
        SELECT loads.run, loads.track, eventful.until_ns, loads.at_ns, NULL, loads.lack, NULL
        FROM loads
        ASOF JOIN eventful
            ON eventful.run = loads.run
            AND eventful.track = loads.track
            AND eventful.from_ns < loads.at_ns
        WHERE eventful.until_ns > loads.at_ns
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
    pieces AS NOT MATERIALIZED (
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
        FROM pauses
        WHERE NOT eventful AND state <> 'engine'
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
        FROM pauses
        WHERE NOT eventful AND handed_ns IS NOT NULL AND state <> 'engine'
    ),
    engines AS (
        SELECT run, track, from_ns, until_ns
        FROM pauses
        WHERE state = 'engine'
    ),
    -- An engine's pause begins in some state, and every later one that begins in it cuts it.
    of_engines AS (
        SELECT
            engines.run,
            engines.track,
            engines.until_ns AS end_ns,
            engines.from_ns,
            moments.cause,
            moments.in_pipeline
        FROM engines
        ASOF JOIN engine_moments AS moments
            ON moments.run = engines.run
            AND moments.track = engines.track
            AND moments.at_ns <= engines.from_ns
        UNION ALL
        SELECT
            moments.run,
            moments.track,
            engines.until_ns,
            moments.at_ns,
            moments.cause,
            moments.in_pipeline
        FROM engine_moments AS moments
        ASOF JOIN engines
            ON engines.run = moments.run
            AND engines.track = moments.track
            AND engines.from_ns < moments.at_ns
        WHERE engines.until_ns > moments.at_ns
    ),
    explained AS NOT MATERIALIZED (
        SELECT
            pieces.run,
            pieces.track,
            pieces.from_ns,
            pieces.until_ns,
            CASE
                WHEN pieces.state = 'unexplained' THEN 'unexplained'
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
            pieces.lack <> 'empty' AND pieces.state <> 'unexplained' AS in_pipeline
        FROM pieces
        JOIN tracks USING (run, track)
        JOIN runs USING (run)
        WHERE pieces.until_ns > pieces.from_ns
    ),
    -- Most stages are never down: only pauses of those that are may be cut once more.
    ever_down AS (
        SELECT DISTINCT run, track
        FROM down_times
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
            coalesce(
                list(struct_pack(
                    since_ns := greatest(down_times.from_ns, explained.from_ns),
                    over_ns := least(down_times.until_ns, explained.until_ns),
                    cause := down_times.cause
                ) ORDER BY down_times.from_ns) FILTER (down_times.run IS NOT NULL),
                []
            ) AS downs
        FROM explained
        SEMI JOIN ever_down USING (run, track)
        LEFT JOIN down_times
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
ANTI JOIN ever_down USING (run, track)
UNION ALL
SELECT run, track, down.since_ns, down.over_ns, down.cause, in_pipeline
FROM (SELECT run, track, unnest(downs) AS down, in_pipeline FROM overlaid)
UNION ALL
SELECT run, track, stretch[1], stretch[2], cause, in_pipeline
FROM between
WHERE stretch[1] < stretch[2]
UNION ALL
SELECT
    run,
    track,
    from_ns,
    lead(from_ns, 1, end_ns) OVER (PARTITION BY run, track, end_ns ORDER BY from_ns),
    cause,
    in_pipeline
FROM of_engines;
