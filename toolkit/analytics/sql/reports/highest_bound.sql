-- What no schedule of a run can beat.
-- Grain: one row per run whose bounds are known.  Reads: lower_bounds, throughput.
-- Units: seconds; requests per second.
-- Definition: the highest of its lower bounds, and the throughput of a run that ended just then.
CREATE OR REPLACE VIEW highest_bound AS
WITH
    highest AS (
        SELECT run, max(lower_s) AS least_makespan_s
        FROM lower_bounds
        GROUP BY run
    )
SELECT
    highest.run,
    highest.least_makespan_s,
    throughput.requests / nullif(highest.least_makespan_s, 0) AS most_requests_per_s
FROM highest
JOIN throughput USING (run);
