-- One thing at a time: on one track, a span of depth 0 ends before the next one starts.
-- Grain: one row per span that starts too early.  Reads: store.spans.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW spans_do_not_overlap AS
WITH
    paired AS (
        SELECT
            run,
            track,
            ts_ns,
            request,
            step,
            -- The span just before is enough: where any two overlap, so do two neighbours.
            lag(ts_ns + dur_ns) OVER (PARTITION BY run, track ORDER BY ts_ns, dur_ns)
                AS busy_until_ns
        FROM store.spans
        WHERE depth = 0
    )
SELECT
    run,
    track,
    ts_ns,
    request,
    step,
    busy_until_ns
FROM paired
WHERE ts_ns < busy_until_ns;
