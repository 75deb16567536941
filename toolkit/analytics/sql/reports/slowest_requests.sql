-- The ten worst entries by each latency, and when they waited: where to look in the timeline.
-- Grain: one row per run, latency and rank, from 1, the worst.
-- Reads: request_latency, requests, first_token.
-- Units: seconds; nanoseconds since the start of the simulation.
-- Definition: metrics as in request_latency; from_ns .. until_ns is the stretch that the latency
-- measures (for tpot and latency_per_token the stretch that it averages).
CREATE OR REPLACE VIEW slowest_requests AS
WITH
    measured AS (
        SELECT
            request_latency.run,
            request_latency.request,
            latency.metric,
            latency.value_s,
            latency.from_ns,
            latency.until_ns
        FROM request_latency
        JOIN requests USING (run, request)
        JOIN first_token USING (run, request)
        CROSS JOIN LATERAL (
            VALUES
                ('ttft', ttft_s, requests.arrival_ns, first_token.first_token_ns),
                ('tpot', tpot_s, first_token.first_token_ns, requests.finish_ns),
                ('e2e', e2e_s, requests.arrival_ns, requests.finish_ns),
                ('queueing', queueing_s, requests.arrival_ns, requests.start_ns),
                ('prefill', prefill_s, requests.start_ns, requests.prefill_end_ns),
                ('transfer', transfer_s, requests.prefill_end_ns, requests.kv_ready_ns),
                (
                    'decode_wait',
                    decode_wait_s,
                    coalesce(requests.kv_ready_ns, requests.prefill_end_ns),
                    requests.decode_start_ns
                ),
                ('decode', decode_s, requests.decode_start_ns, requests.finish_ns),
                (
                    'latency_per_token',
                    latency_per_token_s,
                    requests.arrival_ns,
                    requests.finish_ns
                )
        ) AS latency (metric, value_s, from_ns, until_ns)
        WHERE latency.value_s IS NOT NULL
    ),
    ranked AS (
        SELECT
            *,
            row_number() OVER (PARTITION BY run, metric ORDER BY value_s DESC, request) AS rank
        FROM measured
    )
SELECT run, metric, rank, request, value_s, from_ns, until_ns
FROM ranked
WHERE rank <= 10
ORDER BY run, metric, rank;
