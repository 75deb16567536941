-- When the warm-up that the scenario's [report] cuts off is over.
-- Grain: one row per run.  Reads: store.manifests, store.requests.
-- Units: nanoseconds since the start of the simulation; NULL where nothing is cut.
-- Definition: `warm_up_s` after 0, or `warm_up_share` of the time from the first arrival to the last.
-- Requests that arrived before `until_ns` are left out of latencies, attainment and goodput; rates,
-- utilisation and cost are those of the whole run.
CREATE OR REPLACE VIEW warm_up AS
WITH
    stated AS (
        SELECT
            run,
            (manifest ->> '$.scenario.report.warm_up_s')::DOUBLE AS warm_up_s,
            (manifest ->> '$.scenario.report.warm_up_share')::DOUBLE AS warm_up_share
        FROM store.manifests
    ),
    arrivals AS (
        SELECT run, min(arrival_ns) AS first_ns, max(arrival_ns) AS last_ns
        FROM store.requests
        WHERE run IN (SELECT run FROM stated WHERE warm_up_share IS NOT NULL)
        GROUP BY run
    )
SELECT
    stated.run,
    coalesce(
        round(stated.warm_up_s * 1e9)::BIGINT,
        arrivals.first_ns
        + round(stated.warm_up_share * (arrivals.last_ns - arrivals.first_ns))::BIGINT
    ) AS until_ns
FROM stated
LEFT JOIN arrivals USING (run);
