-- Spans and waits start at 0 or later and last no less than nothing.
-- Grain: one row per span or wait that does not.  Reads: store.spans, store.waits.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW times_are_not_negative AS
SELECT run, 'spans' AS in_table, track, request, ts_ns AS from_ns, dur_ns
FROM store.spans
WHERE ts_ns < 0 OR dur_ns < 0
UNION ALL
SELECT run, 'waits', on_track, request, from_ns, wait_ns
FROM store.waits
WHERE from_ns < 0 OR until_ns < from_ns OR wait_ns < 0 OR wait_ns > until_ns - from_ns;
