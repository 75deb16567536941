-- How wide the windows of arrivals over time are: a round number, the same for all runs opened.
-- Grain: one row.  Reads: requests.
-- Units: nanoseconds.
-- Definition: the least of 1, 2, 5 x 10^k ns that cuts the time to the last arrival into at most
-- 60 windows.
CREATE OR REPLACE VIEW arrival_window_width AS
WITH
    longest AS (
        SELECT greatest(coalesce(max(arrival_ns), 0) + 1, 60) / 60 AS least_ns
        FROM requests
    )
SELECT min(step.mantissa * pow(10, decade.exponent))::BIGINT AS width_ns
FROM longest
CROSS JOIN (VALUES (1), (2), (5)) AS step (mantissa)
CROSS JOIN range(19) AS decade (exponent)
WHERE step.mantissa * pow(10, decade.exponent) >= longest.least_ns;
