-- The figures of a run that people ask for first.
-- Grain: one row per run.
-- Reads: runs, throughput, cost, latency_summary, latency_samples, stage_shares, highest_bound,
-- goodput, prefix_cache.
-- Units: seconds; per second; US dollars.
-- Definition: p99 by linear interpolation; shares are of all stages x makespan; goodput and
-- attainment are NULL without an [slo], the hit rate without a prefix cache.  The rest is as the views it reads say.
CREATE OR REPLACE VIEW run_summary AS
WITH
    typical AS (
        SELECT
            run,
            max(median_s) FILTER (metric = 'ttft') AS ttft_median_s,
            max(median_s) FILTER (metric = 'tpot') AS tpot_median_s,
            max(median_s) FILTER (metric = 'e2e') AS e2e_median_s,
            max(mean_s) FILTER (metric = 'e2e') AS e2e_mean_s,
            max(median_s) FILTER (metric = 'latency_per_token') AS latency_per_token_median_s
        FROM latency_summary
        GROUP BY run
    ),
    late AS (
        SELECT
            run,
            quantile_cont(value_s, 0.99) FILTER (metric = 'ttft') AS ttft_p99_s,
            quantile_cont(value_s, 0.99) FILTER (metric = 'e2e') AS e2e_p99_s
        FROM latency_samples
        GROUP BY run
    )
SELECT
    runs.run,
    runs.ordinal,
    runs.label,
    throughput.makespan_s,
    highest_bound.least_makespan_s,
    throughput.requests,
    throughput.requests_per_s,
    highest_bound.most_requests_per_s,
    goodput.goodput_per_s,
    goodput.attainment AS slo_attainment,
    throughput.output_tokens_per_s,
    throughput.entries_per_s AS throughput_per_s,
    typical.ttft_median_s,
    late.ttft_p99_s,
    typical.tpot_median_s,
    typical.e2e_median_s,
    typical.e2e_mean_s,
    late.e2e_p99_s,
    typical.latency_per_token_median_s,
    stage_shares.utilisation,
    stage_shares.bubble_share,
    stage_shares.empty_share,
    cost.machine_hours,
    cost.cost_usd,
    cost.usd_per_1000_requests,
    cost.usd_per_million_output_tokens,
    prefix_cache.hit_rate AS prefix_hit_rate
FROM runs
LEFT JOIN throughput USING (run)
LEFT JOIN cost USING (run)
LEFT JOIN goodput USING (run)
LEFT JOIN stage_shares USING (run)
LEFT JOIN typical USING (run)
LEFT JOIN late USING (run)
LEFT JOIN highest_bound USING (run)
LEFT JOIN prefix_cache USING (run);
