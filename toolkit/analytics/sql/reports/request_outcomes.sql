-- What became of the requests, and the work that was thrown away with those that were given up.
-- Grain: one row per run and outcome that occurs.  Reads: requests.
-- Units: tokens; shares of the run.
-- Definition: each try of a request counts.  Of a request that was served all tokens are of use; of one
-- that was cancelled or timed out none is, neither those its client had read nor those of the step in
-- which it gave up: `wasted_prompt_tokens` of prompts that had been read to their end,
-- `wasted_output_tokens` generated.  `wasted_share` is that of all tokens generated in the run.
CREATE OR REPLACE VIEW request_outcomes AS
WITH
    generated AS (
        SELECT
            *,
            CASE outcome
                WHEN 'served' THEN size * output_tokens
                ELSE size * coalesce(generated_tokens, 0)
            END AS tokens
        FROM requests
    )
SELECT
    run,
    outcome,
    sum(size)::BIGINT AS requests,
    sum(size) / sum(sum(size)) OVER of_run AS share,
    coalesce(sum(size) FILTER (attempt > 0), 0)::BIGINT AS retries,
    sum(tokens)::BIGINT AS output_tokens,
    coalesce(
        sum(size * prompt_tokens) FILTER (outcome <> 'served' AND prefill_end_ns IS NOT NULL), 0
    )::BIGINT AS wasted_prompt_tokens,
    coalesce(sum(tokens) FILTER (outcome <> 'served'), 0)::BIGINT AS wasted_output_tokens,
    coalesce(sum(tokens) FILTER (outcome <> 'served'), 0) / nullif(sum(sum(tokens)) OVER of_run, 0)
        AS wasted_share
FROM generated
GROUP BY run, outcome
WINDOW of_run AS (PARTITION BY run)
ORDER BY run, requests DESC, outcome;
