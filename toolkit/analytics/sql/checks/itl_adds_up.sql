-- The gaps between a request's output tokens are the time from its first token to its last
-- (of an imported request, where its gaps are known).
-- Grain: one row per request where they are not, or where a token is missing.
-- Reads: itl, requests, first_token, runs.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW itl_adds_up AS
WITH
    added AS (
        SELECT run, request, sum(gap_ns)::BIGINT AS gaps_ns, count(*) AS gaps
        FROM itl
        GROUP BY run, request
    )
SELECT
    requests.run,
    requests.request,
    requests.finish_ns - first_token.first_token_ns AS after_first_ns,
    coalesce(added.gaps_ns, 0) AS gaps_ns,
    requests.output_tokens,
    coalesce(added.gaps, 0) AS gaps
FROM requests
JOIN first_token USING (run, request)
JOIN runs USING (run)
LEFT JOIN added USING (run, request)
WHERE
    runs.level <> 'requests'
    AND (runs.source IS NULL OR added.run IS NOT NULL)
    AND requests.output_tokens > 1
    AND (
        coalesce(added.gaps_ns, 0) <> requests.finish_ns - first_token.first_token_ns
        OR coalesce(added.gaps, 0) <> requests.output_tokens - 1
    );
