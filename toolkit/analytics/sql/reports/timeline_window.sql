-- The stretch of a run that its timeline shows: where prompts first meet decodes.
-- Grain: one row per run.  Reads: runs, requests, run_totals.
-- Units: nanoseconds.
-- Definition: the scenario's report.window_s; else as long for every run opened as two and a half of
-- the longest median prompt pass among them, and around the first prompt that starts after a
-- decode has begun (a fifth of the stretch before it), within 0 .. makespan; the whole of a run
-- whose requests have no prompt passes.
CREATE OR REPLACE VIEW timeline_window AS
WITH
    passes AS (
        SELECT
            run,
            median(prefill_end_ns - start_ns) AS prompt_ns,
            min(decode_start_ns) AS first_decode_ns
        FROM requests
        WHERE outcome = 'served'
        GROUP BY run
    ),
    meetings AS (
        SELECT
            passes.run,
            coalesce(
                min(requests.start_ns) FILTER (requests.start_ns > passes.first_decode_ns),
                any_value(passes.first_decode_ns),
                0
            ) AS meeting_ns
        FROM passes
        JOIN requests USING (run)
        GROUP BY passes.run
    ),
    length AS (
        SELECT
            least(
                greatest(2.5 * max(passes.prompt_ns), max(run_totals.makespan_ns) / 1000),
                max(run_totals.makespan_ns)
            )::BIGINT AS length_ns
        FROM passes
        JOIN run_totals USING (run)
    ),
    chosen AS (
        SELECT
            run_totals.run,
            CASE WHEN passes.prompt_ns IS NULL THEN 0 ELSE
                greatest(
                    least(
                        meetings.meeting_ns - length.length_ns // 5,
                        run_totals.makespan_ns - length.length_ns
                    ),
                    0
                )
            END AS from_ns,
            CASE WHEN passes.prompt_ns IS NULL THEN run_totals.makespan_ns
                ELSE length.length_ns
            END AS length_ns
        FROM run_totals
        CROSS JOIN length
        LEFT JOIN passes USING (run)
        LEFT JOIN meetings USING (run)
    )
SELECT
    chosen.run,
    coalesce((runs.window_s[1] * 1e9)::BIGINT, chosen.from_ns) AS from_ns,
    coalesce((runs.window_s[2] * 1e9)::BIGINT, chosen.from_ns + chosen.length_ns) AS until_ns
FROM chosen
JOIN runs USING (run);
