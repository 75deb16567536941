-- When each machine was down: failed until that was noticed, then starting until it was back.  At trace
-- level `full`; at `steps` of the last stages only.
-- Grain: one row per stretch of one of the two.  Reads: spans.
-- Units: nanoseconds since the start of the simulation.
CREATE OR REPLACE VIEW down_times AS
SELECT
    run,
    track,
    machine,
    name AS cause,
    ts_ns AS from_ns,
    end_ns AS until_ns
FROM spans
WHERE track_kind = 'stage' AND name IN ('failed', 'starting') AND dur_ns > 0;
