-- Whether a deployment holds the load that a run offers it, and what that costs.
-- Grain: one row per run.  Reads: offered_loads, goodput, saturation, run_totals.
-- Units: per second; US dollars, per hour for all machines and per 1000 requests at the stated rate;
-- attainment as a share of requests.
-- Definition: a load holds where at least the share `target` of its requests met their limits and the
-- run is not overloaded: were it longer, an overloaded one would meet them less and less.  NULL where
-- there are no limits.  `usd_per_1000_requests` is what the machines cost while 1000 requests arrive
-- at the stated rate; the view cost has the bill of the run, its beginning and end included.
CREATE OR REPLACE VIEW load_outcome AS
SELECT
    run_totals.run,
    offered_loads.rate_per_s,
    offered_loads.target,
    goodput.attainment,
    saturation.verdict,
    saturation.unknown_because,
    goodput.attainment >= offered_loads.target AND saturation.verdict IS DISTINCT FROM 'overloaded'
        AS holds,
    run_totals.offered_requests AS requests,
    goodput.goodput_per_s,
    run_totals.output_tokens / nullif(run_totals.makespan_ns / 1e9, 0) AS output_tokens_per_s,
    run_totals.price_usd_per_hour AS usd_per_hour,
    run_totals.price_usd_per_hour / 3600 * 1000 / offered_loads.rate_per_s AS usd_per_1000_requests
FROM run_totals
JOIN offered_loads USING (run)
LEFT JOIN goodput USING (run)
LEFT JOIN saturation USING (run)
ORDER BY run_totals.run;
