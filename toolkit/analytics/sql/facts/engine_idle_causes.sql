-- Why each engine stood still: every pause, cut wherever its cause may change.  At level `full` only.
-- Grain: one row per engine and stretch of one cause; neighbours may have the same.
-- Reads: idle_intervals, engine_places, tracks, runs, requests, waits.
-- Units: nanoseconds; `in_pipeline`: a request was at the engine, so this is a bubble.
-- Definition: an engine with a request to run runs it, so it stands still for what is not there.  The
-- first of these that holds: `blocked_transfer`: the KV cache of a request that it is to decode is on
-- a link, or waits for one.  `blocked_kv`: a request waits for blocks here.  `starved`: a request
-- that it is to decode has still to get its prompt.  `no_work`: none of these.
CREATE OR REPLACE VIEW engine_idle_causes AS
WITH
    engines AS (
        SELECT tracks.run, tracks.track, tracks.replica
        FROM tracks
        JOIN runs USING (run)
        WHERE runs.batching = 'continuous' AND runs.level = 'full' AND tracks.kind = 'stage'
    ),
    pauses AS (
        SELECT engines.run, engines.track, engines.replica, idle.from_ns, idle.until_ns
        FROM idle_intervals AS idle
        JOIN engines USING (run, track)
    ),
    waiting AS (
        SELECT
            waits.run,
            CASE
                WHEN waits.from_ns < requests.start_ns
                    THEN coalesce(requests.prompt_replica, requests.replica)
                ELSE requests.replica
            END AS replica,
            CASE WHEN waits.cause = 'kv_room' THEN 'room' ELSE 'link' END AS what,
            waits.from_ns,
            waits.until_ns
        FROM waits
        JOIN requests USING (run, request)
        JOIN runs USING (run)
        WHERE
            runs.batching = 'continuous' AND waits.cause IN ('kv_room', 'transfer', 'link_busy')
    ),
    stretches AS (
        SELECT run, replica, what, from_ns, until_ns
        FROM waiting
        UNION ALL
        SELECT run, replica, 'here', from_ns, until_ns
        FROM engine_places
        UNION ALL
        SELECT run, replica, 'prompt', arrival_ns, prefill_end_ns
        FROM requests
        WHERE prompt_replica <> replica
    ),
    changes AS (
        SELECT stretches.run, replica, stretches.what, moment.at_ns, moment.change
        FROM stretches
        SEMI JOIN engines USING (run, replica)
        CROSS JOIN LATERAL (
            VALUES (stretches.from_ns, 1), (stretches.until_ns, -1)
        ) AS moment (at_ns, change)
        WHERE stretches.from_ns < stretches.until_ns
        UNION ALL
        SELECT run, replica, NULL, 0, 0
        FROM engines
    ),
    moments AS (
        SELECT
            run,
            replica,
            at_ns,
            coalesce(sum(change) FILTER (what = 'link'), 0) AS on_link,
            coalesce(sum(change) FILTER (what = 'room'), 0) AS for_room,
            coalesce(sum(change) FILTER (what = 'here'), 0) AS here,
            coalesce(sum(change) FILTER (what = 'prompt'), 0) AS in_prompt
        FROM changes
        GROUP BY run, replica, at_ns
    ),
    levels AS (
        SELECT
            run,
            replica,
            at_ns,
            sum(on_link) OVER in_time > 0 AS on_link,
            sum(for_room) OVER in_time > 0 AS for_room,
            sum(here) OVER in_time > 0 AS here,
            sum(in_prompt) OVER in_time > 0 AS in_prompt
        FROM moments
        WINDOW in_time AS (PARTITION BY run, replica ORDER BY at_ns)
    ),
    -- Each pause begins in some level, and every later one that begins in it cuts it.
    pieces AS (
        SELECT pauses.run, pauses.track, pauses.until_ns AS end_ns, pauses.from_ns, levels.* EXCLUDE
            (run, replica, at_ns)
        FROM pauses
        ASOF JOIN levels
            ON levels.run = pauses.run
            AND levels.replica = pauses.replica
            AND levels.at_ns <= pauses.from_ns
        UNION ALL
        SELECT levels.run, pauses.track, pauses.until_ns, levels.at_ns, levels.* EXCLUDE
            (run, replica, at_ns)
        FROM levels
        ASOF JOIN pauses
            ON pauses.run = levels.run
            AND pauses.replica = levels.replica
            AND pauses.from_ns < levels.at_ns
        WHERE pauses.until_ns > levels.at_ns
    )
SELECT
    run,
    track,
    from_ns,
    lead(from_ns, 1, end_ns) OVER (PARTITION BY run, track, end_ns ORDER BY from_ns) AS until_ns,
    CASE
        WHEN on_link THEN 'blocked_transfer'
        WHEN for_room OR here THEN 'blocked_kv'
        WHEN in_prompt THEN 'starved'
        ELSE 'no_work'
    END AS cause,
    here AS in_pipeline
FROM pieces;
