-- What an engine would stand still for if it did, from each moment on at which that changes.
-- Grain: one row per engine and moment.
-- Reads: engine_places, tracks, runs, requests, waits.
-- Units: nanoseconds; `in_pipeline`: a request was at the engine, so a pause is a bubble.
-- Definition: an engine with a request to run runs it, so it stands still for what is not there.  The
-- first of these that holds: `blocked_transfer`: the KV cache of a request that it is to decode is on
-- a link, or waits for one.  `blocked_kv`: a request waits for blocks here.  `starved`: a request
-- that it is to decode has still to get its prompt.  `no_work`: none of these.
CREATE OR REPLACE VIEW engine_moments AS
WITH
    engines AS (
        SELECT tracks.run, tracks.track, tracks.replica
        FROM tracks
        JOIN runs USING (run)
        WHERE runs.batching = 'continuous' AND runs.level = 'full' AND tracks.kind = 'stage'
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
    )
SELECT
    levels.run,
    engines.track,
    levels.at_ns,
    CASE
        WHEN levels.on_link THEN 'blocked_transfer'
        WHEN levels.for_room OR levels.here THEN 'blocked_kv'
        WHEN levels.in_prompt THEN 'starved'
        ELSE 'no_work'
    END AS cause,
    levels.here AS in_pipeline
FROM levels
JOIN engines USING (run, replica);
