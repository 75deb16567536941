-- What each client saw of a request, all its tries together.
-- Grain: one row per request as its client sees it, keyed by its first try.  Reads: requests.
-- Units: nanoseconds since the start of the simulation; nanoseconds.
-- Definition: `outcome` is that of the last try; `waited_ns` runs from the first try's arrival until the
-- client had its answer or gave up for good (NULL where that was refused: nothing says when).
-- Without tries in rows of their own every request is one.
CREATE OR REPLACE VIEW request_tries AS
WITH
    tries AS (
        SELECT
            *,
            coalesce(attempt_of, request) AS first_request,
            coalesce(given_up_ns, finish_ns) AS ended_ns
        FROM requests
    )
SELECT
    run,
    first_request AS request,
    count(*) AS tries,
    arg_max(request, arrival_ns) AS last_request,
    arg_max(outcome, arrival_ns) AS outcome,
    any_value(size) AS size,
    min(arrival_ns) AS arrival_ns,
    CASE WHEN arg_max(outcome, arrival_ns) <> 'refused' THEN
        max(ended_ns) - min(arrival_ns)
    END AS waited_ns
FROM tries
GROUP BY run, first_request;
