-- The passes of batches through their pipelines.  Complete at trace level `full`; at `steps` only
-- the last stage of each pipeline is kept.
-- Grain: one row per step.  Reads: spans.
-- Units: nanoseconds; `busy_ns` is the sum over stages, so end - start - busy is time between stages.
CREATE OR REPLACE VIEW steps AS
SELECT
    run,
    step,
    name,
    min(request) AS request,
    min(token) AS token,
    min(ts_ns) AS start_ns,
    max(end_ns) AS end_ns,
    sum(dur_ns)::BIGINT AS busy_ns,
    count(*) AS stages
FROM spans
WHERE track_kind = 'stage' AND depth = 0 AND step IS NOT NULL
GROUP BY run, step, name;
