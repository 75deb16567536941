-- What a prefix cache saved: prompt tokens that were found there, and not computed.
-- Grain: one row per run that has such a cache.  Reads: requests.
-- Units: requests and tokens; hit rate and share of requests as shares.
-- Definition: of requests that were admitted, at their first admission.  The hit rate is cached
-- over prompt tokens, so the token that is always computed counts as a miss.  What a preempted
-- request finds again is not in it.
CREATE OR REPLACE VIEW prefix_cache AS
WITH
    admitted AS (
        SELECT run, size, prompt_tokens, cached_tokens
        FROM requests
        WHERE cached_tokens IS NOT NULL
    )
SELECT
    run,
    sum(size)::BIGINT AS requests,
    sum(size * prompt_tokens)::BIGINT AS prompt_tokens,
    sum(size * cached_tokens)::BIGINT AS cached_tokens,
    sum(size * (prompt_tokens - cached_tokens))::BIGINT AS computed_tokens,
    sum(size * cached_tokens) / nullif(sum(size * prompt_tokens), 0) AS hit_rate,
    coalesce(sum(size) FILTER (cached_tokens > 0), 0)::BIGINT AS requests_hit,
    coalesce(sum(size) FILTER (cached_tokens > 0), 0) / sum(size) AS requests_hit_share
FROM admitted
GROUP BY run
ORDER BY run;
