-- What one machine sends another receives: each KV transfer has its receiving side, of equal
-- length at the same time (where links are shared, there is one side only).
-- Grain: one row per transfer with one side missing.  Reads: spans, runs.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW sent_is_received AS
WITH
    sides AS (
        SELECT
            run,
            request,
            ts_ns,
            dur_ns,
            count(*) FILTER (name = 'kv_transfer') AS sent,
            count(*) FILTER (name = 'kv_receive') AS received
        FROM spans
        WHERE track_kind = 'link' AND name IN ('kv_transfer', 'kv_receive')
        GROUP BY run, request, ts_ns, dur_ns
    )
SELECT
    sides.run,
    sides.request,
    sides.ts_ns,
    sides.dur_ns,
    sides.sent,
    sides.received
FROM sides
JOIN runs USING (run)
WHERE runs.link_model = 'per_nic' AND sides.sent <> sides.received;
