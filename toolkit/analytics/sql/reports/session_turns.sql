-- How conversations get on, turn by turn.
-- Grain: one row per run and turn, of runs whose requests belong to sessions.
-- Reads: requests, request_latency.
-- Units: tokens of one request; seconds.
-- Definition: `requests` counts tries; latencies are of those that were served, percentiles by linear
-- interpolation.
CREATE OR REPLACE VIEW session_turns AS
SELECT
    requests.run,
    requests.turn,
    sum(requests.size)::BIGINT AS requests,
    coalesce(sum(requests.size) FILTER (requests.outcome = 'served'), 0)::BIGINT AS served_requests,
    avg(requests.prompt_tokens) AS mean_prompt_tokens,
    avg(requests.output_tokens) AS mean_output_tokens,
    median(request_latency.ttft_s) AS ttft_median_s,
    quantile_cont(request_latency.ttft_s, 0.99) AS ttft_p99_s,
    median(request_latency.e2e_s) AS e2e_median_s
FROM requests
LEFT JOIN request_latency USING (run, request)
WHERE requests.turn IS NOT NULL AND requests.session IS NOT NULL
GROUP BY requests.run, requests.turn
ORDER BY requests.run, requests.turn;
