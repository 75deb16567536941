-- How long each link carried something, and how much.
-- Grain: one row per link and kind of transfer.  Reads: totals, tracks.
-- Units: nanoseconds, bytes (counted where they are sent; NULL where they are received).
CREATE OR REPLACE VIEW link_busy AS
SELECT
    totals.run,
    totals.track,
    totals.track_name AS link,
    tracks.rank,
    totals.machine,
    totals.name,
    totals.busy_ns,
    totals.count,
    totals.bytes
FROM totals
JOIN tracks USING (run, track)
WHERE totals.track_kind = 'link';
