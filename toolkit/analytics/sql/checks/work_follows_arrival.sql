-- No span of a request begins before the request has arrived.
-- Grain: one row per request with such a span.  Reads: spans, requests.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW work_follows_arrival AS
WITH
    first_span AS (
        SELECT run, request, min(ts_ns) AS ts_ns
        FROM spans
        WHERE request IS NOT NULL
        GROUP BY run, request
    )
SELECT
    first_span.run,
    first_span.request,
    first_span.ts_ns,
    requests.arrival_ns
FROM first_span
JOIN requests USING (run, request)
WHERE first_span.ts_ns < requests.arrival_ns;
