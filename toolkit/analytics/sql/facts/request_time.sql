-- Where the end-to-end time of each request went: waits by cause, and its own work.
-- Grain: one row per served entry and part.  Reads: requests, waits, runs.
-- Units: nanoseconds; the parts of an entry add up to finish - arrival exactly.
-- Definition: waits are the entry's own (packing) and those of its microbatch, cut to arrival ..
-- finish; `work` is the rest, which `checks/work_is_spans` compares with the spans.  At trace level
-- `requests` waits are sums: where one outlasts an entry that left its microbatch early it cannot
-- be cut, and the rest of that entry is `unsplit`.  So is all of an imported entry but the time it
-- is known to have queued; entries without arrival or finish have no parts.
CREATE OR REPLACE VIEW request_time AS
WITH
    entry AS (
        SELECT
            requests.run,
            requests.request,
            requests.lead,
            requests.arrival_ns,
            requests.finish_ns,
            runs.source IS NOT NULL AS imported
        FROM requests
        JOIN runs USING (run)
        WHERE
            requests.outcome = 'served'
            AND requests.arrival_ns IS NOT NULL
            AND requests.finish_ns IS NOT NULL
    ),
    waited AS (
        SELECT
            entry.run,
            entry.request,
            waits.cause AS part,
            waits.wait_ns < waits.until_ns - waits.from_ns AS summed,
            waits.from_ns < entry.arrival_ns OR waits.until_ns > entry.finish_ns AS cut,
            waits.wait_ns,
            least(waits.until_ns, entry.finish_ns) - greatest(waits.from_ns, entry.arrival_ns)
                AS inside_ns
        FROM entry
        JOIN waits ON waits.run = entry.run AND waits.request = entry.lead
        WHERE waits.cause <> 'packing'
        UNION ALL
        SELECT
            entry.run,
            entry.request,
            waits.cause,
            false,
            false,
            waits.wait_ns,
            waits.wait_ns
        FROM entry
        JOIN waits USING (run, request)
        WHERE waits.cause = 'packing'
    ),
    parts AS (
        SELECT
            run,
            request,
            part,
            coalesce(
                sum(CASE WHEN summed THEN wait_ns ELSE greatest(inside_ns, 0) END)
                    FILTER (NOT (summed AND cut)),
                0
            )::BIGINT AS dur_ns,
            bool_or(summed AND cut) AS unsplit
        FROM waited
        GROUP BY run, request, part
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
    entry.finish_ns - entry.arrival_ns - coalesce(spent.waited_ns, 0)
FROM entry
LEFT JOIN spent USING (run, request);
