-- Pieces of work on tracks, with the names of both.  Empty at trace level `requests`.
-- Grain: one row per span.  Reads: store.spans, store.names, store.tracks.
-- Units: nanoseconds; bytes of transfers, NULL elsewhere.
CREATE OR REPLACE VIEW spans AS
SELECT
    span.run,
    span.ts_ns,
    span.dur_ns,
    span.ts_ns + span.dur_ns AS end_ns,
    span.track,
    track.kind AS track_kind,
    track.name AS track_name,
    track.machine,
    name.text AS name,
    span.request,
    span.token,
    span.step,
    span.bytes,
    span.depth
FROM store.spans AS span
LEFT JOIN store.names AS name ON name.run = span.run AND name.name = span.name
LEFT JOIN store.tracks AS track ON track.run = span.run AND track.track = span.track;
