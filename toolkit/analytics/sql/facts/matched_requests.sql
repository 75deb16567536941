-- The same request in two runs: what became of it in each.
-- Grain: one row per run and pair of entries, one of the run and one of its base run, that share
-- requests (`count` of them).  Reads: requests, first_token, sides.
-- Units: nanoseconds, of each of the like requests.
-- Definition: requests are numbered through the entries of a run, each entry taking `size` numbers, so
-- that runs whose microbatches differ in size can be matched; where every entry is one request the
-- number is its key.  Two that were served at their first try are the same where number, arrival and
-- both lengths are equal; of the later turns of conversations, whose arrivals hang on the run, where
-- turn and lengths are.
CREATE OR REPLACE VIEW matched_requests AS
WITH
    placed AS (
        SELECT
            requests.run,
            requests.request,
            requests.arrival_ns,
            coalesce(requests.turn, 0) AS turn,
            requests.prompt_tokens,
            requests.output_tokens,
            CASE WHEN requests.outcome = 'served' AND coalesce(requests.attempt, 0) = 0 THEN
                requests.finish_ns - requests.arrival_ns
            END AS e2e_ns,
            first_token.first_token_ns - requests.arrival_ns AS ttft_ns,
            sum(requests.size) OVER (PARTITION BY requests.run ORDER BY requests.request)
                - requests.size AS first_number,
            sum(requests.size) OVER (PARTITION BY requests.run ORDER BY requests.request)
                AS end_number
        FROM requests
        LEFT JOIN first_token USING (run, request)
    )
SELECT
    sides.run,
    sides.base_run,
    here.request,
    base.request AS base_request,
    (
        least(here.end_number, base.end_number) - greatest(here.first_number, base.first_number)
    )::BIGINT AS count,
    base.ttft_ns AS base_ttft_ns,
    here.ttft_ns,
    base.e2e_ns AS base_e2e_ns,
    here.e2e_ns
FROM sides
JOIN placed AS here ON here.run = sides.run
JOIN placed AS base
    ON base.run = sides.base_run
    AND base.prompt_tokens = here.prompt_tokens
    AND base.output_tokens = here.output_tokens
    AND base.turn = here.turn
    AND (base.arrival_ns = here.arrival_ns OR here.turn > 0)
    AND base.first_number < here.end_number
    AND base.end_number > here.first_number
WHERE base.e2e_ns IS NOT NULL AND here.e2e_ns IS NOT NULL;
