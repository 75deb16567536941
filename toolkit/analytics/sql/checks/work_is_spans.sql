-- At trace level `full`, what a request did not wait is what its microbatch worked, to the
-- nanosecond: waits and spans together are its end-to-end time (an imported trace need not say).
-- Grain: one row per request where they are not.  Reads: request_time, request_work, runs.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW work_is_spans AS
SELECT
    request_time.run,
    request_time.request,
    request_time.dur_ns AS not_waited_ns,
    request_work.work_ns
FROM request_time
JOIN request_work USING (run, request)
JOIN runs USING (run)
WHERE
    runs.level = 'full'
    AND runs.source IS NULL
    AND request_time.part = 'work'
    AND request_time.dur_ns <> request_work.work_ns;
