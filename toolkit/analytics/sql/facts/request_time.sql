-- Where the end-to-end time of each request went: waits by cause, and its own work.
-- Grain: one row per served entry and part.  Reads: requests, runs, request_waits.
-- Units: nanoseconds; the parts of an entry add up to finish - arrival exactly.
-- Definition: waits as in request_waits; `work` is the rest, which `checks/work_is_spans` compares
-- with the spans.  At trace level `requests` waits are sums: where one cannot be cut to an entry
-- that left its microbatch early, the rest of that entry is `unsplit`.  So is all of an imported
-- entry but the time it is known to have queued; entries without arrival or finish have no parts.
CREATE OR REPLACE VIEW request_time AS
WITH
    entry AS (
        SELECT
            requests.run,
            requests.request,
            requests.finish_ns - requests.arrival_ns AS e2e_ns,
            runs.source IS NOT NULL AS imported
        FROM requests
        JOIN runs USING (run)
        WHERE
            requests.outcome = 'served'
            AND requests.arrival_ns IS NOT NULL
            AND requests.finish_ns IS NOT NULL
    ),
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
    entry.run,
    entry.request,
    CASE WHEN spent.unsplit OR entry.imported THEN 'unsplit' ELSE 'work' END,
    entry.e2e_ns - coalesce(spent.waited_ns, 0)
FROM entry
LEFT JOIN spent USING (run, request);
