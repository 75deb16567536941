-- Behind whom each request waited: the request (or microbatch, by its lead) that held what it
-- needed, and the stage or link where it did.
-- Grain: one row per served entry, cause, blocker and track.  Reads: request_waits.
-- Units: nanoseconds; `wait_ns` adds up to the causes of request_time.
-- Definition: of several decodes in a row that held a stage the last one is named; of a queue, whoever
-- was in front.  `on_request` is NULL where nobody is to blame (a KV cache on its way) and where
-- waits are sums (trace level `requests`), `on_track` where it is about a place, not a stage or link.
CREATE OR REPLACE VIEW request_blockers AS
SELECT
    run,
    request,
    cause,
    on_request,
    on_track,
    count(*) AS waits,
    min(from_ns) AS from_ns,
    max(until_ns) AS until_ns,
    coalesce(sum(wait_ns), 0)::BIGINT AS wait_ns
FROM request_waits
GROUP BY run, request, cause, on_request, on_track;
