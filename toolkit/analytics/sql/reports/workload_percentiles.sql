-- How prompts, answers and the gaps between arrivals are distributed.
-- Grain: one row per run, quantity (prompt_tokens, output_tokens, gap_s) and percentile from 0 to 100.
-- Reads: requests, arrival_gaps.
-- Units: tokens of one request; seconds.
-- Definition: each entry counts once; linear interpolation between order statistics, as in
-- latency_percentiles.
CREATE OR REPLACE VIEW workload_percentiles AS
WITH
    listed AS (
        SELECT
            run,
            'prompt_tokens' AS quantity,
            quantile_cont(prompt_tokens::DOUBLE, list_transform(range(101), lambda step: step / 100)) AS amounts
        FROM requests
        GROUP BY run
        UNION ALL
        SELECT
            run,
            'output_tokens' AS quantity,
            quantile_cont(output_tokens::DOUBLE, list_transform(range(101), lambda step: step / 100)) AS amounts
        FROM requests
        GROUP BY run
        UNION ALL
        SELECT
            run,
            'gap_s' AS quantity,
            quantile_cont(gap_ns / 1e9, list_transform(range(101), lambda step: step / 100)) AS amounts
        FROM arrival_gaps
        GROUP BY run
    )
SELECT
    run,
    quantity,
    unnest(range(101))::INTEGER AS percentile,
    unnest(amounts) AS amount
FROM listed
ORDER BY run, quantity, percentile;
