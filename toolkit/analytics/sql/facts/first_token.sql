-- When the first token of each request was out: the one place that knows the rule.
-- Grain: one row per served entry.  Reads: requests, runs.
-- Units: nanoseconds since the start of the simulation; NULL where an imported trace does not say.
-- Definition: `event`: the prompt's end on its last stage yields the first token.  `dejavu`: the end
-- of the first token pass, for the published programs credit no token to the prompt.
CREATE OR REPLACE VIEW first_token AS
SELECT
    requests.run,
    requests.request,
    CASE runs.discipline
        WHEN 'dejavu' THEN requests.first_token_ns
        ELSE coalesce(requests.prefill_end_ns, requests.first_token_ns)
    END AS first_token_ns
FROM requests
JOIN runs USING (run)
WHERE requests.outcome = 'served';
