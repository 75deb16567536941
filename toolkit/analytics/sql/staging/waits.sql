-- Who waited, how long, why, and for whom.
-- Grain: one row per wait of a request (cause packing) or of a microbatch, by its lead; at trace
-- level `requests` one row per cause, summed.  Reads: store.waits, store.names.
-- Units: nanoseconds; `wait_ns` is the time waited within from_ns .. until_ns.
CREATE OR REPLACE VIEW waits AS
SELECT
    wait.run,
    wait.request,
    wait.from_ns,
    wait.until_ns,
    wait.wait_ns,
    name.text AS cause,
    wait.on_request,
    wait.on_track
FROM store.waits AS wait
LEFT JOIN store.names AS name ON name.run = wait.run AND name.name = wait.cause;
