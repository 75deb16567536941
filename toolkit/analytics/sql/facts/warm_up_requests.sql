-- The requests that the warm-up cut leaves out of latencies, attainment and goodput.
-- Grain: one row per entry that arrived during the warm-up.  Reads: requests, warm_up.
-- Units: none; times are compared in nanoseconds.
CREATE OR REPLACE VIEW warm_up_requests AS
SELECT requests.run, requests.request
FROM requests
JOIN warm_up ON warm_up.run = requests.run AND requests.arrival_ns < warm_up.until_ns;
