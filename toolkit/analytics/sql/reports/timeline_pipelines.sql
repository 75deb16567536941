-- When the pipelines of the timeline's stages had work in them: idle in there is a bubble.
-- Grain: one row per stage and stretch.  Reads: timeline_window, pipeline_work, tracks.
-- Units: seconds, cut to the stretch that the timeline shows.
CREATE OR REPLACE VIEW timeline_pipelines AS
SELECT
    tracks.run,
    CASE WHEN tracks.role = 'token' THEN 2 ELSE 0 END AS place,
    tracks.rank,
    tracks.track,
    tracks.name AS stage_name,
    greatest(pipeline_work.from_ns, timeline_window.from_ns) / 1e9 AS from_s,
    least(pipeline_work.until_ns, timeline_window.until_ns) / 1e9 AS until_s
FROM tracks
JOIN pipeline_work USING (run, role, replica)
JOIN timeline_window USING (run)
WHERE
    tracks.kind = 'stage'
    AND pipeline_work.from_ns < timeline_window.until_ns
    AND pipeline_work.until_ns > timeline_window.from_ns
ORDER BY tracks.run, place, tracks.rank, tracks.track, from_s;
