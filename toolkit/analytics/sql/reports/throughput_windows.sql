-- Load and throughput over time: what arrived, what was read, what was generated, what was done.
-- Grain: one row per run and window of equal width, the last one cut at the makespan.
-- Reads: window_width, run_totals, requests, first_token.
-- Units: seconds; per second, NULL where an imported run has no requests, or does not say all of
-- their arrivals, prompts' ends, tokens or first tokens.
-- Definition: an arrival counts where it falls, whatever became of it; a prompt's tokens where its
-- prompt pass ended; a request where its last token falls; the first token counts where it was out
-- and the others are spread evenly from there to the last token (which is exact where decode
-- passes are even), so that the figure is the same at every trace level.
CREATE OR REPLACE VIEW throughput_windows AS
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
    arrived AS (
        SELECT
            requests.run,
            least(
                requests.arrival_ns // window_width.width_ns,
                greatest(run_totals.makespan_ns - 1, 0) // window_width.width_ns
            ) * window_width.width_ns AS from_ns,
            sum(requests.size) AS requests
        FROM requests
        JOIN run_totals USING (run)
        CROSS JOIN window_width
        GROUP BY ALL
    ),
    read AS (
        SELECT
            requests.run,
            greatest(requests.prefill_end_ns - 1, 0) // window_width.width_ns
                * window_width.width_ns AS from_ns,
            sum(requests.size * requests.prompt_tokens) AS tokens
        FROM requests
        CROSS JOIN window_width
        WHERE requests.outcome = 'served' AND requests.prefill_end_ns IS NOT NULL
        GROUP BY ALL
    ),
    entry AS (
        SELECT
            requests.run,
            requests.request,
            requests.size,
            requests.output_tokens,
            first_token.first_token_ns,
            requests.finish_ns
        FROM requests
        JOIN first_token USING (run, request)
    ),
    told AS (
        SELECT
            requests.run,
            bool_and(requests.arrival_ns IS NOT NULL) AS arrivals,
            bool_and(requests.prefill_end_ns IS NOT NULL AND requests.prompt_tokens IS NOT NULL)
                FILTER (requests.outcome = 'served') AS prompts,
            bool_and(requests.finish_ns IS NOT NULL) FILTER (requests.outcome = 'served') AS ends,
            bool_and(
                requests.finish_ns IS NOT NULL
                AND requests.output_tokens IS NOT NULL
                AND first_token.first_token_ns IS NOT NULL
            ) FILTER (requests.outcome = 'served') AS tokens
        FROM requests
        LEFT JOIN first_token USING (run, request)
        GROUP BY requests.run
    ),
    finished AS (
        SELECT
            windows.run,
            windows.from_ns,
            sum(entry.size) AS requests
        FROM windows
        JOIN entry
            ON entry.run = windows.run
            AND entry.finish_ns > windows.from_ns
            AND entry.finish_ns <= windows.until_ns
        GROUP BY windows.run, windows.from_ns
    ),
    generated AS (
        SELECT
            windows.run,
            windows.from_ns,
            sum(
                entry.size * (
                    (entry.output_tokens - 1) * (
                        least(entry.finish_ns, windows.until_ns)
                        - greatest(entry.first_token_ns, windows.from_ns)
                    ) / greatest(entry.finish_ns - entry.first_token_ns, 1)
                    + CASE WHEN entry.first_token_ns > windows.from_ns THEN 1 ELSE 0 END
                )
                ORDER BY entry.request
            ) AS tokens
        FROM windows
        JOIN entry
            ON entry.run = windows.run
            AND entry.first_token_ns <= windows.until_ns
            AND entry.finish_ns > windows.from_ns
        GROUP BY windows.run, windows.from_ns
    )
SELECT
    windows.run,
    windows.from_ns / 1e9 AS from_s,
    windows.until_ns / 1e9 AS until_s,
    CASE WHEN told.arrivals THEN
        coalesce(arrived.requests, 0) * 1e9 / (windows.until_ns - windows.from_ns)
    END AS arrivals_per_s,
    CASE WHEN told.prompts THEN
        coalesce(read.tokens, 0) * 1e9 / (windows.until_ns - windows.from_ns)
    END AS input_tokens_per_s,
    CASE WHEN told.ends THEN
        coalesce(finished.requests, 0) * 1e9 / (windows.until_ns - windows.from_ns)
    END AS requests_per_s,
    CASE WHEN told.tokens THEN
        coalesce(generated.tokens, 0) * 1e9 / (windows.until_ns - windows.from_ns)
    END AS output_tokens_per_s
FROM windows
LEFT JOIN told USING (run)
LEFT JOIN arrived USING (run, from_ns)
LEFT JOIN read USING (run, from_ns)
LEFT JOIN finished USING (run, from_ns)
LEFT JOIN generated USING (run, from_ns)
ORDER BY windows.run, windows.from_ns;
