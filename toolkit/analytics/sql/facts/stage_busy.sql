-- How long each stage worked, and at what.
-- Grain: one row per stage.  Reads: tracks, totals.
-- Units: nanoseconds; mixed steps take prompts and decodes at once.
-- Definition: a stage works whenever it has a span, but for those of a machine that is down (failed,
-- starting); `lost` is work that a failure undid.
CREATE OR REPLACE VIEW stage_busy AS
WITH
    worked AS (
        SELECT
            run,
            track,
            sum(busy_ns) FILTER (name = 'prefill') AS prefill_ns,
            sum(busy_ns) FILTER (name = 'decode') AS decode_ns,
            sum(busy_ns) FILTER (name = 'mixed') AS mixed_ns,
            sum(busy_ns) FILTER (name = 'lost') AS lost_ns,
            sum(busy_ns) AS busy_ns,
            sum(count) AS spans
        FROM totals
        WHERE track_kind = 'stage' AND name NOT IN ('failed', 'starting')
        GROUP BY run, track
    )
SELECT
    tracks.run,
    tracks.track,
    tracks.name AS stage_name,
    tracks.rank,
    tracks.machine,
    tracks.machine_name,
    tracks.role,
    tracks.replica,
    coalesce(tracks.stage, tracks.index) AS stage,
    coalesce(worked.prefill_ns, 0)::BIGINT AS prefill_ns,
    coalesce(worked.decode_ns, 0)::BIGINT AS decode_ns,
    coalesce(worked.mixed_ns, 0)::BIGINT AS mixed_ns,
    coalesce(worked.lost_ns, 0)::BIGINT AS lost_ns,
    coalesce(worked.busy_ns, 0)::BIGINT AS busy_ns,
    coalesce(worked.spans, 0)::BIGINT AS spans
FROM tracks
LEFT JOIN worked USING (run, track)
WHERE tracks.kind = 'stage';
