-- Whom failures hit: every microbatch in flight in a pipeline whose machine failed, and what it waited.
-- Grain: one row per failure and microbatch (by its lead), the same at every trace level.
-- Reads: waits, requests.
-- Units: nanoseconds; `requests` are those of its members that had not finished, counting `size`.
-- Definition: a wait of cause `failed` for a machine's stage; that of a microbatch which had no place
-- in the pipeline yet names no stage, and is in held_up.  `down_ns` until the machine was back,
-- `recovering_ns` until the caches it had lost were.
CREATE OR REPLACE VIEW interrupted AS
WITH
    hit AS (
        SELECT run, request AS lead, on_track AS track, from_ns, until_ns
        FROM waits
        WHERE cause = 'failed' AND on_track IS NOT NULL
    ),
    members AS (
        SELECT
            hit.run,
            hit.lead,
            hit.track,
            hit.from_ns,
            hit.until_ns,
            coalesce(sum(requests.size), 0)::BIGINT AS requests
        FROM hit
        LEFT JOIN requests
            ON requests.run = hit.run
            AND requests.lead = hit.lead
            AND requests.finish_ns > hit.from_ns
        GROUP BY hit.run, hit.lead, hit.track, hit.from_ns, hit.until_ns
    )
SELECT
    members.run,
    members.lead,
    members.track,
    members.from_ns,
    members.until_ns AS back_ns,
    members.requests,
    members.until_ns - members.from_ns AS down_ns,
    coalesce(waits.wait_ns, 0) AS recovering_ns
FROM members
LEFT JOIN waits
    ON waits.run = members.run
    AND waits.request = members.lead
    AND waits.cause = 'recovering'
    AND waits.from_ns = members.until_ns;
