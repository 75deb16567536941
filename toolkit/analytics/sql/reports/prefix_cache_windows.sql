-- What a prefix cache saved over time, and how much of it there was.
-- Grain: one row per window of equal width of a run that has such a cache, the last one cut at the
-- makespan.
-- Reads: window_width, run_totals, requests, counters.
-- Units: seconds; tokens; hit rate as a share, NULL where nobody was admitted; blocks.
-- Definition: a prompt counts in the window of its first admission; the hit rate as in
-- prefix_cache.  `cached_blocks` is the most that the counter of free blocks whose KV cache can be
-- found again came to, over all replicas, NULL where the trace keeps no counters.
CREATE OR REPLACE VIEW prefix_cache_windows AS
WITH
    windows AS (
        SELECT
            run_totals.run,
            number * width_ns AS from_ns,
            least((number + 1) * width_ns, run_totals.makespan_ns) AS until_ns
        FROM run_totals
        SEMI JOIN (SELECT run FROM requests WHERE cached_tokens IS NOT NULL) AS caching USING (run)
        CROSS JOIN window_width
        CROSS JOIN LATERAL range(
            (run_totals.makespan_ns + width_ns - 1) // width_ns
        ) AS step (number)
    ),
    admitted AS (
        SELECT
            requests.run,
            requests.start_ns // window_width.width_ns * window_width.width_ns AS from_ns,
            sum(requests.size * requests.prompt_tokens)::BIGINT AS prompt_tokens,
            sum(requests.size * requests.cached_tokens)::BIGINT AS cached_tokens
        FROM requests
        CROSS JOIN window_width
        WHERE requests.cached_tokens IS NOT NULL
        GROUP BY ALL
    ),
    changes AS (
        SELECT
            run,
            ts_ns,
            value - lag(value, 1, 0) OVER (PARTITION BY run, counter ORDER BY ts_ns) AS change
        FROM counters
        WHERE name = 'KV blocks cached'
    ),
    levels AS (
        SELECT
            run,
            ts_ns AS from_ns,
            lead(ts_ns) OVER (PARTITION BY run ORDER BY ts_ns) AS until_ns,
            blocks
        FROM (
            SELECT
                run,
                ts_ns,
                sum(sum(change)) OVER (PARTITION BY run ORDER BY ts_ns) AS blocks
            FROM changes
            GROUP BY run, ts_ns
        ) AS summed
    ),
    most AS (
        SELECT windows.run, windows.from_ns, max(levels.blocks)::BIGINT AS cached_blocks
        FROM windows
        JOIN levels
            ON levels.run = windows.run
            AND levels.from_ns < windows.until_ns
            AND coalesce(levels.until_ns, windows.until_ns) > windows.from_ns
        GROUP BY windows.run, windows.from_ns
    )
SELECT
    windows.run,
    windows.from_ns / 1e9 AS from_s,
    windows.until_ns / 1e9 AS until_s,
    coalesce(admitted.prompt_tokens, 0) AS prompt_tokens,
    coalesce(admitted.cached_tokens, 0) AS cached_tokens,
    admitted.cached_tokens / nullif(admitted.prompt_tokens, 0) AS hit_rate,
    most.cached_blocks
FROM windows
LEFT JOIN admitted USING (run, from_ns)
LEFT JOIN most USING (run, from_ns)
ORDER BY windows.run, windows.from_ns;
