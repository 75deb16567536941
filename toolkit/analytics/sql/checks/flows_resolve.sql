-- Every slice of a flow is a span of its track.
-- Grain: one row per slice that is not.  Reads: flows, store.spans.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW flows_resolve AS
WITH
    starts AS (
        SELECT run, track, ts_ns, count(*) AS spans
        FROM store.spans
        SEMI JOIN flows USING (run, track, ts_ns)
        GROUP BY run, track, ts_ns
    )
SELECT
    flows.run,
    flows.flow,
    flows."order",
    flows.track,
    flows.ts_ns,
    flows.ordinal
FROM flows
LEFT JOIN starts USING (run, track, ts_ns)
WHERE flows.ordinal < 0 OR flows.ordinal >= coalesce(starts.spans, 0);
