-- Goodput: requests that meet every limit of the scenario's [slo], per second of the makespan.
-- Grain: one row per run that states a limit.  Reads: request_slo, requests, run_totals.
-- Units: per second of the makespan; attainment as a share of requests.
-- Definition: this is the rate, at the load of this run.  The other goodput of the field, the
-- highest load at which a share of requests (90 % as a rule) still meets the limits, is a sweep over
-- loads that maximises the rate with a limit on slo_attainment.
CREATE OR REPLACE VIEW goodput AS
WITH
    counted AS (
        SELECT
            request_slo.run,
            sum(request_slo.size)::BIGINT AS arrived_requests,
            coalesce(sum(request_slo.size) FILTER (request_slo.good), 0)::BIGINT AS good_requests,
            coalesce(
                sum(request_slo.size * requests.output_tokens) FILTER (request_slo.good), 0
            )::BIGINT AS good_output_tokens
        FROM request_slo
        JOIN requests USING (run, request)
        GROUP BY request_slo.run
    )
SELECT
    counted.run,
    counted.arrived_requests,
    counted.good_requests,
    counted.good_requests / counted.arrived_requests AS attainment,
    counted.good_requests / nullif(run_totals.makespan_ns / 1e9, 0) AS goodput_per_s,
    run_totals.requests / nullif(run_totals.makespan_ns / 1e9, 0) AS requests_per_s,
    counted.good_output_tokens / nullif(run_totals.makespan_ns / 1e9, 0)
        AS good_output_tokens_per_s
FROM counted
JOIN run_totals USING (run);
