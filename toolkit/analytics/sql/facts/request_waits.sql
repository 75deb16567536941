-- What each request waited for: its own waits (packing) and those of its microbatch, cut to its own
-- arrival .. finish.
-- Grain: one row per served entry (with arrival and finish) and wait.  Reads: requests, waits.
-- Units: nanoseconds since the start of the simulation; nanoseconds.
-- Definition: at trace level `requests` most rows are sums (`summed`): `wait_ns` of from_ns ..
-- until_ns were waited.  Where such a stretch outlasts an entry that left its microbatch early the
-- sum cannot be cut, and `wait_ns` is NULL.
CREATE OR REPLACE VIEW request_waits AS
WITH
    entry AS (
        SELECT run, request, lead, arrival_ns, finish_ns
        FROM requests
        WHERE outcome = 'served' AND arrival_ns IS NOT NULL AND finish_ns IS NOT NULL
    ),
    waited AS (
        SELECT
            entry.run,
            entry.request,
            waits.cause,
            waits.on_request,
            waits.on_track,
            greatest(waits.from_ns, entry.arrival_ns) AS from_ns,
            least(waits.until_ns, entry.finish_ns) AS until_ns,
            waits.wait_ns < waits.until_ns - waits.from_ns AS summed,
            waits.from_ns < entry.arrival_ns OR waits.until_ns > entry.finish_ns AS cut,
            waits.wait_ns
        FROM entry
        JOIN waits ON waits.run = entry.run AND waits.request = entry.lead
        WHERE waits.cause <> 'packing'
        UNION ALL
        SELECT
            entry.run,
            entry.request,
            waits.cause,
            waits.on_request,
            waits.on_track,
            waits.from_ns,
            waits.until_ns,
            false,
            false,
            waits.wait_ns
        FROM entry
        JOIN waits USING (run, request)
        WHERE waits.cause = 'packing'
    )
SELECT
    run,
    request,
    cause,
    on_request,
    on_track,
    from_ns,
    until_ns,
    summed,
    CASE
        WHEN NOT summed THEN until_ns - from_ns
        WHEN NOT cut THEN wait_ns
    END AS wait_ns
FROM waited
WHERE until_ns > from_ns;
