-- Goodput: requests that meet every limit that holds for them, per second.
-- Grain: one row per run that states a limit.  Reads: request_slo, requests, run_totals, warm_up.
-- Units: per second of the makespan, of what is left of it after the warm-up where one is cut;
-- attainment as a share of requests.
-- Definition: this is the rate, at the load of this run.  The other goodput of the field, the
-- highest load at which a share of requests (90 % as a rule) still meets the limits, is what
-- `toolkit capacity` searches for.  Requests of the warm-up count in none of it but
-- `good_requests_of_all` and requests_per_s, the throughput of the whole run.
CREATE OR REPLACE VIEW goodput AS
WITH
    counted AS (
        SELECT
            request_slo.run,
            coalesce(sum(request_slo.size) FILTER (counts), 0)::BIGINT AS arrived_requests,
            coalesce(sum(request_slo.size) FILTER (counts AND good), 0)::BIGINT AS good_requests,
            coalesce(sum(request_slo.size) FILTER (good), 0)::BIGINT AS good_requests_of_all,
            coalesce(
                sum(request_slo.size * requests.output_tokens) FILTER (counts AND good), 0
            )::BIGINT AS good_output_tokens
        FROM request_slo
        JOIN requests USING (run, request)
        GROUP BY request_slo.run
    ),
    lasted AS (
        SELECT
            run_totals.run,
            run_totals.requests,
            run_totals.makespan_ns / 1e9 AS whole_s,
            (run_totals.makespan_ns - coalesce(warm_up.until_ns, 0)) / 1e9 AS counted_s
        FROM run_totals
        JOIN warm_up USING (run)
    )
SELECT
    counted.run,
    counted.arrived_requests,
    counted.good_requests,
    counted.good_requests_of_all,
    counted.good_requests / nullif(counted.arrived_requests, 0) AS attainment,
    counted.good_requests / nullif(lasted.counted_s, 0) AS goodput_per_s,
    lasted.requests / nullif(lasted.whole_s, 0) AS requests_per_s,
    counted.good_output_tokens / nullif(lasted.counted_s, 0) AS good_output_tokens_per_s
FROM counted
JOIN lasted USING (run);
