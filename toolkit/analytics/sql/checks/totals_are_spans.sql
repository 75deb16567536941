-- At trace level `full`, totals are what the spans add up to.
-- Grain: one row per track and name where they are not.  Reads: store.totals, store.spans, runs.
-- Units: nanoseconds, bytes.
CREATE OR REPLACE VIEW totals_are_spans AS
WITH
    added AS (
        SELECT
            run,
            track,
            name,
            sum(dur_ns) AS busy_ns,
            count(*) AS count,
            sum(bytes) AS bytes
        FROM store.spans
        WHERE depth = 0
        GROUP BY run, track, name
    ),
    compared AS (
        SELECT
            coalesce(total.run, added.run) AS run,
            coalesce(total.track, added.track) AS track,
            coalesce(total.name, added.name) AS name,
            total.busy_ns AS total_busy_ns,
            added.busy_ns AS spans_busy_ns,
            total.count AS total_count,
            added.count AS spans_count,
            total.bytes AS total_bytes,
            added.bytes AS spans_bytes
        FROM store.totals AS total
        FULL JOIN added
            ON added.run = total.run AND added.track = total.track AND added.name = total.name
    )
SELECT compared.*
FROM compared
JOIN runs USING (run)
WHERE
    runs.level = 'full'
    AND (
        coalesce(total_busy_ns, 0) <> coalesce(spans_busy_ns, 0)
        OR coalesce(total_count, 0) <> coalesce(spans_count, 0)
        OR coalesce(total_bytes, 0) <> coalesce(spans_bytes, 0)
    );
