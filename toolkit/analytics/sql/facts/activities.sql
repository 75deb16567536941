-- What every microbatch did or waited for, one thing at a time, and what links carried meanwhile: the
-- links of the chains that critical paths follow.
-- Grain: one row per span on a stage or link and per wait of a microbatch; of an
-- engine, one per wait and stretch of steps of a request.  Reads: spans, runs, engine_stays, waits.
-- Units: nanoseconds since the start of the simulation.
-- Definition: `request` is the lead; `what` a span's name or a wait's cause; `of` is `work` (the
-- microbatch's own passes), `wait`, or `carried` (its KV cache on a link, which other work of its own
-- may overlap).  Complete at trace level `full` only; waits that are sums are left out.
CREATE OR REPLACE VIEW activities AS
SELECT
    spans.run,
    spans.request,
    CASE WHEN spans.name IN ('kv_transfer', 'kv_receive') THEN 'carried' ELSE 'work' END AS of,
    spans.name AS what,
    spans.track,
    NULL::INTEGER AS on_request,
    spans.ts_ns AS from_ns,
    spans.end_ns AS until_ns
FROM spans
JOIN runs USING (run)
WHERE
    runs.batching = 'microbatch'
    AND spans.track_kind IN ('stage', 'link')
    AND spans.depth = 0
    AND spans.dur_ns > 0
    AND spans.name IN (
        'prefill', 'decode', 'lost', 'activation', 'kv_transfer', 'kv_receive'
    )
UNION ALL
SELECT run, request, 'work', what, track, NULL, from_ns, until_ns
FROM engine_stays
UNION ALL
SELECT run, request, 'wait', cause, on_track, on_request, from_ns, until_ns
FROM waits
WHERE cause <> 'packing' AND wait_ns = until_ns - from_ns;
