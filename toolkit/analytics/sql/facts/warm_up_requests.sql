-- The requests that the warm-up cut leaves out of latencies, attainment and goodput.
-- Grain: one row per entry that arrived during the warm-up.  Reads: requests, warm_up.
-- Units: none; times are compared in nanoseconds.
CREATE OR REPLACE VIEW warm_up_requests AS
WITH
    cut AS (
        SELECT run, until_ns
        FROM warm_up
        WHERE until_ns IS NOT NULL
    )
SELECT requests.run, requests.request
FROM requests
JOIN cut ON cut.run = requests.run AND requests.arrival_ns < cut.until_ns;
