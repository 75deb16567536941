-- A client sends a request again only once it has given up the try before, or that was refused; and
-- where the scenario has sessions, a turn only once the turn before has ended for good.
-- Grain: one row per request that was sent too early.  Reads: requests, store.manifests.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW clients_send_one_after_the_other AS
WITH
    tries AS (
        SELECT
            *,
            coalesce(attempt_of, request) AS first_request,
            coalesce(given_up_ns, finish_ns, arrival_ns) AS ended_ns
        FROM requests
    ),
    sessions AS (
        SELECT run
        FROM store.manifests
        WHERE (manifest -> '$.scenario.workload.sessions') IS NOT NULL
    )
SELECT
    again.run,
    again.request,
    again.arrival_ns,
    tries.request AS after_request,
    tries.ended_ns
FROM tries AS again
JOIN tries
    ON tries.run = again.run
    AND tries.first_request = again.first_request
    AND tries.attempt = again.attempt - 1
WHERE again.arrival_ns < tries.ended_ns OR tries.outcome NOT IN ('timed_out', 'refused')
UNION ALL
SELECT
    following.run,
    following.request,
    following.arrival_ns,
    tries.request,
    tries.ended_ns
FROM tries AS following
SEMI JOIN sessions USING (run)
JOIN tries
    ON tries.run = following.run
    AND tries.session = following.session
    AND tries.turn = following.turn - 1
WHERE following.arrival_ns < tries.ended_ns;
