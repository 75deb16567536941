-- The rows of a counter are stored in the order of time.
-- Grain: one row per value that comes after a later one.  Reads: store.counters.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW counters_are_in_order AS
WITH
    paired AS (
        SELECT
            run,
            counter,
            ts_ns,
            value,
            lag(ts_ns) OVER (PARTITION BY run, counter ORDER BY file_row_number) AS before_ns
        FROM store.counters
    )
SELECT run, counter, ts_ns, value, before_ns
FROM paired
WHERE ts_ns < before_ns;
