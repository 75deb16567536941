-- What arrives in all: how much, over how long, how evenly.
-- Grain: one row per run.  Reads: requests, arrival_gaps.
-- Units: seconds; per second; tokens of one request, where a mean.
-- Definition: `arriving_requests` are those whose arrival is known: before a run, those that wait for
-- no answer.  The mean rate is theirs after the first entry over the time between first and last arrival; `gap_cv` is the standard deviation of the gaps between entries over their
-- mean (Poisson: 1, constant: 0); `together_share` is the share of gaps that are 0, at the ticks of
-- a coarse clock.
CREATE OR REPLACE VIEW workload_counts AS
WITH
    whole AS (
        SELECT
            run,
            count(*) AS entries,
            sum(size) AS requests,
            coalesce(sum(size) FILTER (arrival_ns IS NOT NULL), 0) AS arriving_requests,
            sum(size * prompt_tokens) AS prompt_tokens,
            sum(size * output_tokens) AS output_tokens,
            min(arrival_ns) AS first_ns,
            max(arrival_ns) AS last_ns,
            arg_min(size, (arrival_ns, request)) FILTER (arrival_ns IS NOT NULL) AS first_size,
            count(DISTINCT arrival_ns) AS moments
        FROM requests
        GROUP BY run
    ),
    gap AS (
        SELECT
            run,
            avg(gap_ns) AS mean_ns,
            stddev_pop(gap_ns) AS deviation_ns,
            max(gap_ns) AS longest_ns,
            avg((gap_ns = 0)::INTEGER) AS together_share
        FROM arrival_gaps
        GROUP BY run
    )
SELECT
    whole.run,
    whole.entries,
    whole.requests::BIGINT AS requests,
    whole.arriving_requests::BIGINT AS arriving_requests,
    whole.prompt_tokens::BIGINT AS prompt_tokens,
    whole.output_tokens::BIGINT AS output_tokens,
    whole.prompt_tokens / whole.requests AS mean_prompt_tokens,
    whole.output_tokens / whole.requests AS mean_output_tokens,
    whole.first_ns / 1e9 AS first_s,
    whole.last_ns / 1e9 AS last_s,
    whole.moments,
    (whole.arriving_requests - whole.first_size) * 1e9 / nullif(whole.last_ns - whole.first_ns, 0)
        AS rate_per_s,
    gap.mean_ns / 1e9 AS mean_gap_s,
    gap.deviation_ns / nullif(gap.mean_ns, 0) AS gap_cv,
    gap.longest_ns / 1e9 AS longest_gap_s,
    gap.together_share
FROM whole
LEFT JOIN gap USING (run)
ORDER BY whole.run;
