-- What each tenant asked for and what it got.
-- Grain: one row per run and tenant, of workloads with tenants.
-- Reads: requests, request_latency, request_slo, run_totals, warm_up.
-- Units: seconds; per second of the makespan, goodput per second after the warm-up; tokens.
-- Definition: `arrived_requests` are all that the tenant sent, `requests` those served, each an entry
-- `size` times.  Latencies are of requests that arrived after the warm-up, percentiles by linear
-- interpolation.  Attainment and goodput as in slo_attainment and goodput, over the tenant's own
-- requests; NULL where it has no limits.
CREATE OR REPLACE VIEW tenant_summary AS
WITH
    sent AS (
        SELECT
            run,
            tenant,
            sum(size)::BIGINT AS arrived_requests,
            coalesce(sum(size) FILTER (outcome = 'served'), 0)::BIGINT AS requests,
            coalesce(sum(size * output_tokens) FILTER (outcome = 'served'), 0)::BIGINT
                AS output_tokens
        FROM requests
        WHERE tenant IS NOT NULL
        GROUP BY run, tenant
    ),
    latencies AS (
        SELECT
            requests.run,
            requests.tenant,
            quantile_cont(request_latency.ttft_s, 0.5) AS ttft_median_s,
            quantile_cont(request_latency.ttft_s, 0.99) AS ttft_p99_s,
            quantile_cont(request_latency.tpot_s, 0.5) AS tpot_median_s,
            quantile_cont(request_latency.tpot_s, 0.99) AS tpot_p99_s,
            quantile_cont(request_latency.e2e_s, 0.5) AS e2e_median_s,
            quantile_cont(request_latency.e2e_s, 0.99) AS e2e_p99_s
        FROM requests
        JOIN request_latency USING (run, request)
        JOIN warm_up USING (run)
        CROSS JOIN LATERAL range(requests.size) AS alike (number)
        WHERE
            requests.tenant IS NOT NULL
            AND coalesce(requests.arrival_ns >= warm_up.until_ns, true)
        GROUP BY requests.run, requests.tenant
    ),
    judged AS (
        SELECT
            run,
            tenant,
            sum(size) FILTER (counts) AS arrived_requests,
            coalesce(sum(size) FILTER (counts AND good), 0)::BIGINT AS good_requests
        FROM request_slo
        WHERE tenant IS NOT NULL
        GROUP BY run, tenant
    )
SELECT
    sent.run,
    sent.tenant,
    sent.arrived_requests,
    sent.requests,
    sent.output_tokens,
    sent.requests / nullif(run_totals.makespan_ns / 1e9, 0) AS requests_per_s,
    latencies.ttft_median_s,
    latencies.ttft_p99_s,
    latencies.tpot_median_s,
    latencies.tpot_p99_s,
    latencies.e2e_median_s,
    latencies.e2e_p99_s,
    judged.good_requests / nullif(judged.arrived_requests, 0) AS attainment,
    judged.good_requests
    / nullif((run_totals.makespan_ns - coalesce(warm_up.until_ns, 0)) / 1e9, 0) AS goodput_per_s
FROM sent
JOIN run_totals USING (run)
JOIN warm_up USING (run)
LEFT JOIN latencies USING (run, tenant)
LEFT JOIN judged USING (run, tenant)
ORDER BY sent.run, sent.tenant;
