-- Who came too late to be lost but had to wait for a machine that was down.
-- Grain: one row per microbatch (by its lead) and stretch at the head of its queue.  Reads: waits,
-- requests.
-- Units: nanoseconds; `requests` count `size`.
CREATE OR REPLACE VIEW held_up AS
SELECT
    waits.run,
    waits.request AS lead,
    waits.from_ns,
    waits.until_ns,
    sum(requests.size)::BIGINT AS requests
FROM waits
JOIN requests ON requests.run = waits.run AND requests.lead = waits.request
WHERE waits.cause = 'failed' AND waits.on_track IS NULL
GROUP BY waits.run, waits.request, waits.from_ns, waits.until_ns;
