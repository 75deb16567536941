-- Which share of all requests that arrived met each limit, and all of them.
-- Grain: one row per run and limit stated; `all` is all of them together.
-- Reads: request_verdicts.
-- Units: milliseconds; attainment as a share of requests.
-- Definition: over all arrivals that have limits, save those of the warm-up: requests that were
-- refused, cancelled, timed out or failed count as misses.  Each request counts once, an entry `size`
-- times, and so does each further try of it.  `limit_ms` is NULL where tenants have different limits:
-- the view tenant_slo has them.
CREATE OR REPLACE VIEW slo_attainment AS
SELECT
    run,
    slo,
    CASE WHEN min(limit_ms) = max(limit_ms) THEN min(limit_ms) END AS limit_ms,
    sum(size)::BIGINT AS requests,
    coalesce(sum(size) FILTER (ok), 0)::BIGINT AS met,
    coalesce(sum(size) FILTER (ok), 0) / sum(size) AS attainment
FROM request_verdicts
GROUP BY run, rank, slo
ORDER BY run, rank;
