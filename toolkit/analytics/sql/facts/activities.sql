-- What every microbatch did or waited for, one thing at a time, and what links carried meanwhile: the
-- links of the chains that critical paths follow.
-- Grain: one row per span on a stage or link and per wait of a microbatch.  Reads: spans, waits.
-- Units: nanoseconds since the start of the simulation.
-- Definition: `request` is the lead; `what` a span's name or a wait's cause; `of` is `work` (the
-- microbatch's own passes), `wait`, or `carried` (its KV cache on a link, which other work of its own
-- may overlap).  Complete at trace level `full` only; waits that are sums are left out.
CREATE OR REPLACE VIEW activities AS
SELECT
    run,
    request,
    CASE WHEN name IN ('kv_transfer', 'kv_receive') THEN 'carried' ELSE 'work' END AS of,
    name AS what,
    track,
    NULL::INTEGER AS on_request,
    ts_ns AS from_ns,
    end_ns AS until_ns
FROM spans
WHERE
    track_kind IN ('stage', 'link')
    AND depth = 0
    AND dur_ns > 0
    AND name IN ('prefill', 'decode', 'activation', 'kv_transfer', 'kv_receive')
UNION ALL
SELECT run, request, 'wait', cause, on_track, on_request, from_ns, until_ns
FROM waits
WHERE cause <> 'packing' AND wait_ns = until_ns - from_ns;
