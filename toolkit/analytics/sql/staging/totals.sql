-- What the spans of a track add up to, by name; kept at every trace level.
-- Grain: one row per track and name.  Reads: store.totals, store.names, store.tracks.
-- Units: nanoseconds; bytes of transfers, NULL elsewhere.
CREATE OR REPLACE VIEW totals AS
SELECT
    total.run,
    total.track,
    track.kind AS track_kind,
    track.name AS track_name,
    track.machine,
    name.text AS name,
    total.busy_ns,
    total.count,
    total.bytes
FROM store.totals AS total
LEFT JOIN store.names AS name ON name.run = total.run AND name.name = total.name
LEFT JOIN store.tracks AS track ON track.run = total.run AND track.track = total.track;
