-- Transfers between machines: activations and KV caches.  Empty below trace level `full`.
-- Grain: one row per transfer on the side that sends.  Reads: spans.
-- Units: nanoseconds, bytes; gigabits (1e9 bits) per second while it ran.
CREATE OR REPLACE VIEW transfers AS
SELECT
    run,
    name,
    request,
    step,
    track,
    track_name,
    machine,
    ts_ns AS start_ns,
    end_ns,
    dur_ns,
    bytes,
    bytes * 8.0 / nullif(dur_ns, 0) AS gbit_per_s
FROM spans
WHERE track_kind = 'link' AND name IN ('activation', 'kv_transfer') AND depth = 0;
