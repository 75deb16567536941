-- What the warm-up cut leaves out of latencies, attainment and goodput.
-- Grain: one row per run that cuts a warm-up off.  Reads: warm_up, requests.
-- Units: seconds from the start of the simulation; requests count `size`.
CREATE OR REPLACE VIEW warm_up_cut AS
SELECT
    warm_up.run,
    any_value(warm_up.until_ns) / 1e9 AS until_s,
    coalesce(sum(requests.size) FILTER (requests.arrival_ns < warm_up.until_ns), 0)::BIGINT
        AS left_out,
    sum(requests.size)::BIGINT AS requests
FROM warm_up
JOIN requests USING (run)
WHERE warm_up.until_ns IS NOT NULL
GROUP BY warm_up.run
ORDER BY warm_up.run;
