-- How wide the windows of figures over time are: a round number, the same for all runs opened.
-- Grain: one row.  Reads: run_totals.
-- Units: nanoseconds.
-- Definition: the least of 1, 2, 5 x 10^k ns that cuts the longest makespan into at most 100 windows.
CREATE OR REPLACE VIEW window_width AS
WITH
    longest AS (
        SELECT greatest(max(makespan_ns), 100) / 100 AS least_ns
        FROM run_totals
    )
SELECT min(step.mantissa * pow(10, decade.exponent))::BIGINT AS width_ns
FROM longest
CROSS JOIN (VALUES (1), (2), (5)) AS step (mantissa)
CROSS JOIN range(19) AS decade (exponent)
WHERE step.mantissa * pow(10, decade.exponent) >= longest.least_ns;
