-- Where the end-to-end time of each request went: waits by cause, and its own work.
-- Grain: one row per served entry and part.  Reads: requests, request_waits.
-- Units: nanoseconds; the parts of an entry add up to finish - arrival exactly.
-- Definition: waits as in request_waits; `work` is the rest, which `checks/work_is_spans` compares
-- with the spans.  At trace level `requests` waits are sums: where one cannot be cut to an entry
-- that left its microbatch early, the rest of that entry is `unsplit`.
CREATE OR REPLACE VIEW request_time AS
WITH
    parts AS (
        SELECT
            run,
            request,
            cause AS part,
            coalesce(sum(wait_ns), 0)::BIGINT AS dur_ns,
            bool_or(wait_ns IS NULL) AS unsplit
        FROM request_waits
        GROUP BY run, request, cause
    ),
    spent AS (
        SELECT run, request, sum(dur_ns)::BIGINT AS waited_ns, bool_or(unsplit) AS unsplit
        FROM parts
        GROUP BY run, request
    )
SELECT run, request, part, dur_ns
FROM parts
WHERE dur_ns > 0
UNION ALL
SELECT
    requests.run,
    requests.request,
    CASE WHEN spent.unsplit THEN 'unsplit' ELSE 'work' END,
    requests.finish_ns - requests.arrival_ns - coalesce(spent.waited_ns, 0)
FROM requests
LEFT JOIN spent USING (run, request)
WHERE requests.outcome = 'served';
