-- Which of its limits each request met.
-- Grain: one row per entry that arrived and has limits.
-- Reads: requests, first_token, request_limits, warm_up.
-- Definition: a limit is met by what is no longer than it, compared in nanoseconds; NULL where no
-- such limit is stated.  An answer of one token has no time per token after it and meets that
-- limit.  A request that was refused, given up or failed met none, and each try of one counts.
-- `good`: all limits stated are met.  `counts`: it arrived after the warm-up, so that attainment and
-- goodput count it.
-- Units: milliseconds in the names of limits only.
CREATE OR REPLACE VIEW request_slo AS
WITH
    measured AS (
        SELECT
            requests.run,
            requests.request,
            requests.tenant,
            requests.size,
            requests.output_tokens,
            requests.outcome = 'served' AS served,
            first_token.first_token_ns - requests.arrival_ns AS ttft_ns,
            requests.finish_ns - first_token.first_token_ns AS after_ns,
            requests.finish_ns - requests.arrival_ns AS e2e_ns,
            request_limits.ttft_ms,
            request_limits.tpot_ms,
            request_limits.e2e_ms,
            coalesce(requests.arrival_ns >= warm_up.until_ns, true) AS counts
        FROM requests
        JOIN request_limits USING (run, request)
        JOIN warm_up USING (run)
        LEFT JOIN first_token USING (run, request)
    ),
    compared AS (
        SELECT
            run,
            request,
            tenant,
            size,
            CASE WHEN ttft_ms IS NOT NULL THEN served AND ttft_ns <= ttft_ms * 1e6 END AS ttft_ok,
            CASE WHEN tpot_ms IS NOT NULL THEN
                served AND (output_tokens <= 1 OR after_ns <= tpot_ms * 1e6 * (output_tokens - 1))
            END AS tpot_ok,
            CASE WHEN e2e_ms IS NOT NULL THEN served AND e2e_ns <= e2e_ms * 1e6 END AS e2e_ok,
            served,
            counts
        FROM measured
    )
SELECT
    run,
    request,
    tenant,
    size,
    ttft_ok,
    tpot_ok,
    e2e_ok,
    served AND coalesce(ttft_ok, true) AND coalesce(tpot_ok, true) AND coalesce(e2e_ok, true)
        AS good,
    counts
FROM compared;
