-- Requests in are requests out: each is served, refused, cancelled, timed out or failed, and a served
-- one arrived, started, ended its prompt, gave its first token and finished, in this order (an
-- imported trace may leave some of it unsaid, but not say it in another order).  One that was given up
-- had arrived, and was let go of then or later, with no more tokens than were asked for.
-- Grain: one row per request that does not.  Reads: requests, runs.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW requests_run_their_course AS
SELECT
    requests.run,
    requests.request,
    requests.outcome,
    requests.arrival_ns,
    requests.start_ns,
    requests.prefill_end_ns,
    requests.first_token_ns,
    requests.finish_ns
FROM requests
JOIN runs USING (run)
WHERE
    outcome NOT IN ('served', 'refused', 'cancelled', 'timed_out', 'failed')
    OR arrival_ns < 0
    OR size < 1
    OR (
        outcome = 'served'
        AND (
            (
                runs.source IS NULL
                AND (arrival_ns IS NULL OR finish_ns IS NULL OR first_token_ns IS NULL)
            )
            OR arrival_ns > coalesce(start_ns, first_token_ns)
            OR start_ns > prefill_end_ns
            OR prefill_end_ns > first_token_ns
            OR kv_ready_ns < prefill_end_ns
            OR decode_start_ns < coalesce(kv_ready_ns, prefill_end_ns)
            OR first_token_ns > finish_ns
        )
    )
    OR (
        outcome IN ('cancelled', 'timed_out')
        AND runs.source IS NULL
        AND (
            given_up_ns IS NULL
            OR finish_ns IS NULL
            OR arrival_ns > given_up_ns
            OR given_up_ns > finish_ns
            OR start_ns > finish_ns
            OR first_token_ns > given_up_ns
            OR generated_tokens NOT BETWEEN 0 AND output_tokens
        )
    );
