-- The runs side by side: each figure, and how many times the first run's it is.
-- Grain: one row per metric and run.  Reads: run_summary.
-- Units: in `unit`; `better` says which way is better.
CREATE OR REPLACE VIEW headline AS
WITH
    figures AS (
        SELECT
            run_summary.run,
            run_summary.ordinal,
            run_summary.label,
            figure.*
        FROM run_summary
        CROSS JOIN LATERAL (
            VALUES
                (0, 'makespan', 's', 'less', makespan_s),
                (1, 'makespan, at least', 's', 'less', least_makespan_s),
                (2, 'throughput', 'requests/s', 'more', requests_per_s),
                (3, 'throughput, at most', 'requests/s', 'more', most_requests_per_s),
                (4, 'goodput', 'requests/s', 'more', goodput_per_s),
                (5, 'SLO attainment', '%', 'more', 100 * slo_attainment),
                (6, 'output tokens', 'tokens/s', 'more', output_tokens_per_s),
                (7, 'prompt tokens from cache', '%', 'more', 100 * prefix_hit_rate),
                (8, 'TTFT, median', 's', 'less', ttft_median_s),
                (9, 'TTFT, p99', 's', 'less', ttft_p99_s),
                (10, 'TPOT, median', 's', 'less', tpot_median_s),
                (11, 'E2E, median', 's', 'less', e2e_median_s),
                (12, 'E2E, p99', 's', 'less', e2e_p99_s),
                (13, 'stages working', '%', 'more', 100 * utilisation),
                (14, 'stages in bubbles', '%', 'less', 100 * bubble_share),
                (15, 'cost', 'USD', 'less', cost_usd),
                (16, 'cost per 1000 requests', 'USD', 'less', usd_per_1000_requests),
                (17, 'cost per million output tokens', 'USD', 'less', usd_per_million_output_tokens)
        ) AS figure (rank, metric, unit, better, value)
    ),
    first_run AS (
        SELECT rank, value
        FROM figures
        WHERE ordinal = 0
    )
SELECT
    figures.rank,
    figures.metric,
    figures.unit,
    figures.better,
    figures.run,
    figures.label,
    figures.value,
    figures.value / nullif(first_run.value, 0) AS ratio_to_first
FROM figures
LEFT JOIN first_run USING (rank)
ORDER BY figures.rank, figures.run;
