-- A request waits for one thing at a time (rows that sum up several waits aside).
-- Grain: one row per wait that starts before an earlier one has ended.  Reads: waits.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW waits_do_not_overlap AS
WITH
    paired AS (
        SELECT
            run,
            request,
            cause,
            from_ns,
            until_ns,
            lag(until_ns) OVER (PARTITION BY run, request ORDER BY from_ns, until_ns)
                AS waited_until_ns
        FROM waits
        WHERE wait_ns = until_ns - from_ns
    )
SELECT run, request, cause, from_ns, until_ns, waited_until_ns
FROM paired
WHERE from_ns < waited_until_ns;
