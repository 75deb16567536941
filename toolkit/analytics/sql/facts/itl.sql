-- The gap before each output token after the first: inter-token latency, token by token.
-- Empty at trace level `requests`, which keeps no passes; tpot is the mean of a request's gaps there.
-- Grain: one row per served entry and output token after the first.
-- Reads: token_passes, engine_tokens, requests, first_token, runs.
-- Units: nanoseconds; `token` counts from 0, the first token, so rows start at 1.
-- Definition: from the end of one output token to the end of the next, on the last stage.  Tools
-- differ: AIPerf and GuideLLM call a request's mean gap ITL, which is tpot here; vLLM's ITL is this.
-- An imported request is here if its trace has every one of its passes.
CREATE OR REPLACE VIEW itl AS
WITH
    -- What an imported run says of each microbatch's passes, to be believed if it is all of them.
    passed AS (
        SELECT
            token_passes.run,
            token_passes.lead,
            count(DISTINCT token_passes.pass) AS passes,
            max(token_passes.end_ns) AS end_ns
        FROM token_passes
        JOIN runs USING (run)
        WHERE runs.source IS NOT NULL
        GROUP BY token_passes.run, token_passes.lead
        HAVING count(*) = count(DISTINCT token_passes.pass)
    ),
    gaps AS (
        SELECT
            requests.run,
            requests.request,
            requests.size,
            -- Under dejavu the first pass yields the first token, else the prompt has.
            CASE runs.discipline WHEN 'dejavu' THEN token_passes.pass ELSE token_passes.pass + 1 END
                AS token,
            coalesce(
                lag(token_passes.end_ns) OVER (
                    PARTITION BY requests.run, requests.request
                    ORDER BY token_passes.pass
                ),
                first_token.first_token_ns
            ) AS from_ns,
            token_passes.end_ns AS until_ns,
            requests.output_tokens
        FROM requests
        JOIN runs USING (run)
        JOIN first_token USING (run, request)
        JOIN token_passes
            ON token_passes.run = requests.run AND token_passes.lead = requests.lead
        LEFT JOIN passed ON passed.run = requests.run AND passed.lead = requests.lead
        WHERE
            runs.batching = 'microbatch'
            AND (
                runs.source IS NULL
                OR (
                    passed.end_ns = requests.finish_ns
                    AND first_token.first_token_ns IS NOT NULL
                    AND passed.passes = requests.output_tokens
                        - CASE runs.discipline WHEN 'dejavu' THEN 0 ELSE 1 END
                )
            )
        UNION ALL
        SELECT
            requests.run,
            requests.request,
            requests.size,
            engine_tokens.token,
            coalesce(
                lag(engine_tokens.end_ns) OVER (
                    PARTITION BY engine_tokens.run, engine_tokens.request
                    ORDER BY engine_tokens.token
                ),
                first_token.first_token_ns
            ),
            engine_tokens.end_ns,
            requests.output_tokens
        FROM engine_tokens
        JOIN requests USING (run, request)
        JOIN first_token USING (run, request)
    )
SELECT
    run,
    request,
    token,
    size,
    from_ns,
    until_ns,
    until_ns - from_ns AS gap_ns
FROM gaps
WHERE token BETWEEN 1 AND output_tokens - 1;
