-- Every latency of every request, one under the other: what distributions are made of.
-- Grain: one row per metric and request (an entry of size n gives n rows); for the metric
-- latency_per_token one row per entry, as the published simulators count.
-- Reads: request_latency, warm_up_requests.
-- Units: seconds.
-- Definition: requests that arrived during the warm-up are left out.
CREATE OR REPLACE VIEW latency_samples AS
WITH
    entry_metric AS (
        SELECT
            request_latency.run,
            metric.metric,
            metric.value_s,
            CASE metric.metric WHEN 'latency_per_token' THEN 1 ELSE request_latency.size END
                AS weight
        FROM request_latency
        ANTI JOIN warm_up_requests USING (run, request)
        CROSS JOIN LATERAL (
            VALUES
                ('ttft', ttft_s),
                ('tpot', tpot_s),
                ('e2e', e2e_s),
                ('queueing', queueing_s),
                ('prefill', prefill_s),
                ('transfer', transfer_s),
                ('decode_wait', decode_wait_s),
                ('decode', decode_s),
                ('latency_per_token', latency_per_token_s)
        ) AS metric (metric, value_s)
    )
SELECT
    entry_metric.run,
    entry_metric.metric,
    entry_metric.value_s
FROM entry_metric
CROSS JOIN LATERAL range(entry_metric.weight) AS alike (number)
WHERE entry_metric.value_s IS NOT NULL;
