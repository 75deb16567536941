-- Arrivals over time.
-- Grain: one row per run and window of equal width, from 0 to the window of the last arrival of all runs.
-- Reads: requests, arrival_window_width.
-- Units: seconds; per second.
-- Definition: rates are over the whole width of a window, also of the last, which the workload may
-- not fill.
CREATE OR REPLACE VIEW arrival_windows AS
WITH
    present AS (
        SELECT DISTINCT run
        FROM requests
    ),
    windows AS (
        SELECT
            present.run,
            step.number,
            width_ns
        FROM present
        CROSS JOIN arrival_window_width
        CROSS JOIN LATERAL range(
            (SELECT coalesce(max(arrival_ns), 0) FROM requests) // width_ns + 1
        ) AS step (number)
    ),
    counted AS (
        SELECT
            run,
            arrival_ns // width_ns AS number,
            sum(size) AS requests,
            sum(size * prompt_tokens) AS prompt_tokens,
            sum(size * output_tokens) AS output_tokens
        FROM requests
        CROSS JOIN arrival_window_width
        GROUP BY run, arrival_ns // width_ns
    )
SELECT
    windows.run,
    windows.number * windows.width_ns / 1e9 AS from_s,
    (windows.number + 1) * windows.width_ns / 1e9 AS until_s,
    coalesce(counted.requests, 0)::BIGINT AS requests,
    coalesce(counted.requests, 0) * 1e9 / windows.width_ns AS requests_per_s,
    coalesce(counted.prompt_tokens, 0) * 1e9 / windows.width_ns AS prompt_tokens_per_s,
    coalesce(counted.output_tokens, 0) * 1e9 / windows.width_ns AS output_tokens_per_s
FROM windows
LEFT JOIN counted USING (run, number)
ORDER BY windows.run, windows.number;
