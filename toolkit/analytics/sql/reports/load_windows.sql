-- Requests waiting and being served, and KV cache set aside, over time.
-- Grain: one row per run and window of equal width, the last one cut at the makespan.
-- Reads: window_width, run_totals, runs, requests, queue_depth, in_flight, kv_occupancy.
-- Units: seconds; requests on average over the window and at most within it; bytes of all machines
-- on average, share of the fullest machine, NULL where the trace keeps no KV counters.  Requests
-- are NULL where an imported run has none, or does not say when each arrived, started and ended.
-- Definition: as in queue_depth, in_flight and kv_occupancy.
CREATE OR REPLACE VIEW load_windows AS
WITH
    windows AS (
        SELECT
            run_totals.run,
            number * width_ns AS from_ns,
            least((number + 1) * width_ns, run_totals.makespan_ns) AS until_ns
        FROM run_totals
        CROSS JOIN window_width
        CROSS JOIN LATERAL range(
            (run_totals.makespan_ns + width_ns - 1) // width_ns
        ) AS step (number)
    ),
    told AS (
        SELECT
            run,
            runs.source IS NULL
            OR bool_and(requests.arrival_ns IS NOT NULL AND requests.start_ns IS NOT NULL)
                AS queued,
            runs.source IS NULL
            OR bool_and(requests.start_ns IS NOT NULL AND requests.finish_ns IS NOT NULL)
                AS in_flight
        FROM runs
        LEFT JOIN requests USING (run)
        GROUP BY run, runs.source
    ),
    levels AS (
        SELECT run, 'queued' AS what, from_ns, until_ns, requests AS level, NULL AS share
        FROM queue_depth
        UNION ALL
        SELECT run, 'in_flight', from_ns, until_ns, requests, NULL
        FROM in_flight
        UNION ALL
        SELECT run, 'kv', from_ns, until_ns, bytes, share
        FROM kv_occupancy
    ),
    inside AS (
        SELECT
            windows.run,
            windows.from_ns,
            levels.what,
            sum(
                levels.level * (
                    least(levels.until_ns, windows.until_ns)
                    - greatest(levels.from_ns, windows.from_ns)
                )
                ORDER BY levels.from_ns, levels.level
            ) / any_value(windows.until_ns - windows.from_ns) AS mean,
            max(levels.level) AS most,
            max(levels.share) AS share
        FROM windows
        JOIN levels
            ON levels.run = windows.run
            AND levels.from_ns < windows.until_ns
            AND levels.until_ns > windows.from_ns
        GROUP BY windows.run, windows.from_ns, levels.what
    ),
    wide AS (
        SELECT
            run,
            from_ns,
            max(mean) FILTER (what = 'queued') AS queued_mean,
            max(most) FILTER (what = 'queued') AS queued_max,
            max(mean) FILTER (what = 'in_flight') AS in_flight_mean,
            max(most) FILTER (what = 'in_flight') AS in_flight_max,
            max(mean) FILTER (what = 'kv') AS kv_mean_bytes,
            max(share) FILTER (what = 'kv') AS kv_share_max
        FROM inside
        GROUP BY run, from_ns
    )
SELECT
    windows.run,
    windows.from_ns / 1e9 AS from_s,
    windows.until_ns / 1e9 AS until_s,
    CASE WHEN told.queued THEN coalesce(wide.queued_mean, 0) END AS queued_mean,
    CASE WHEN told.queued THEN coalesce(wide.queued_max, 0)::BIGINT END AS queued_max,
    CASE WHEN told.in_flight THEN coalesce(wide.in_flight_mean, 0) END AS in_flight_mean,
    CASE WHEN told.in_flight THEN coalesce(wide.in_flight_max, 0)::BIGINT END AS in_flight_max,
    wide.kv_mean_bytes,
    wide.kv_share_max
FROM windows
JOIN told USING (run)
LEFT JOIN wide USING (run, from_ns)
ORDER BY windows.run, windows.from_ns;
