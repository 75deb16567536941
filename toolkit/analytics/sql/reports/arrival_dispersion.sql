-- How bursty arrivals are at several time scales: the index of dispersion for counts.
-- Grain: one row per run and width of 1, 10, 60 and 600 s that at least ten whole windows fit.
-- Reads: requests.
-- Units: seconds.
-- Definition: variance over mean of the entries that arrive in a window, over the whole windows
-- from 0 to the last arrival, empty ones too (Cox and Lewis, The Statistical Analysis of Series of
-- Events, 1966, section 4.5).  Poisson: 1 at every width; a rate that drifts makes it grow with it.
CREATE OR REPLACE VIEW arrival_dispersion AS
WITH
    windows AS (
        SELECT
            run,
            width.seconds,
            max(arrival_ns) // (width.seconds * 1000000000) AS whole
        FROM requests
        CROSS JOIN (VALUES (1::BIGINT), (10), (60), (600)) AS width (seconds)
        GROUP BY run, width.seconds
    ),
    counted AS (
        SELECT
            windows.run,
            windows.seconds,
            windows.whole,
            requests.arrival_ns // (windows.seconds * 1000000000) AS number,
            count(*) AS entries
        FROM requests
        JOIN windows USING (run)
        WHERE requests.arrival_ns // (windows.seconds * 1000000000) < windows.whole
        GROUP BY ALL
    )
SELECT
    run,
    seconds AS window_s,
    whole AS windows,
    sum(entries) / whole AS mean_entries,
    (sum(entries * entries) / whole - (sum(entries) / whole) * (sum(entries) / whole))
        / (sum(entries) / whole) AS dispersion
FROM counted
WHERE whole >= 10
GROUP BY run, seconds, whole
ORDER BY run, seconds;
