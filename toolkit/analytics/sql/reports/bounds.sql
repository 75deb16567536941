-- How close a run came to what no schedule can beat.
-- Grain: one row per run and bound.  Reads: lower_bounds, throughput.
-- Units: seconds; requests per second.
-- Definition: a run cannot end before `lower_s`, so it serves at most `most_requests_per_s`;
-- `binding` marks its highest bound, the one that counts.
CREATE OR REPLACE VIEW bounds AS
SELECT
    lower_bounds.run,
    lower_bounds.bound,
    lower_bounds.lower_s,
    throughput.makespan_s,
    throughput.makespan_s / nullif(lower_bounds.lower_s, 0) AS times_bound,
    throughput.requests / nullif(lower_bounds.lower_s, 0) AS most_requests_per_s,
    throughput.requests_per_s,
    row_number() OVER (
        PARTITION BY lower_bounds.run ORDER BY lower_bounds.lower_s DESC, lower_bounds.bound
    ) = 1 AS binding,
    lower_bounds.words
FROM lower_bounds
JOIN throughput USING (run)
ORDER BY lower_bounds.run, lower_bounds.lower_s DESC, lower_bounds.bound;
