-- Spans are stored in the order of (ts_ns, track), which is what makes windows quick to read.
-- Grain: one row per span that comes after a later one.  Reads: store.spans.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW spans_are_sorted AS
WITH
    paired AS (
        SELECT
            run,
            file_row_number,
            ts_ns,
            track,
            lag(ts_ns) OVER in_file AS ts_before_ns,
            lag(track) OVER in_file AS track_before
        FROM store.spans
        WINDOW in_file AS (PARTITION BY run ORDER BY file_row_number)
    )
SELECT run, file_row_number, ts_ns, track
FROM paired
WHERE ts_ns < ts_before_ns OR (ts_ns = ts_before_ns AND track < track_before);
