-- What a unit of service cost: the bill, the electricity and the carbon per request and per token.
-- Grain: one row per run.  Reads: cost_uses, run_totals, goodput, tariffs.
-- Units: US dollars, kilowatt-hours, grams of CO2 equivalent; NULL where not known (tariffs), where
-- nothing of that unit was served, and per good request where the scenario states no limits.
-- Definition: the bill is split between input and output tokens: the dollars of each role's machines
-- in proportion to the time its stages spent on prefill and on decode, so that waste is shared like
-- the work beside it; a role that did neither is split as all roles together.  The two add up to the
-- bill.  (View `cost` divides the whole bill by either kind of token.)  `usd_wasted` is what was not
-- useful (time_ledger).  An imported run whose machines are stated but not in its trace has a bill and
-- no split of it; nor has a run with mixed steps, whose time is prompts' and answers' alike.
-- A request is good if it met every limit of [slo].
CREATE OR REPLACE VIEW unit_costs AS
WITH
    roles AS (
        SELECT
            run,
            role,
            CASE WHEN count(cost_usd) = count(*) THEN sum(cost_usd ORDER BY cause) END AS usd,
            sum(cost_usd ORDER BY cause) FILTER (use <> 'useful') AS wasted_usd,
            CASE WHEN count(energy_kwh) = count(*) THEN sum(energy_kwh ORDER BY cause) END AS kwh,
            CASE WHEN count(co2_g) = count(*) THEN sum(co2_g ORDER BY cause) END AS co2_g,
            coalesce(sum(machine_s) FILTER (cause = 'prefill'), 0) AS prefill_s,
            coalesce(sum(machine_s) FILTER (cause = 'decode'), 0) AS decode_s,
            coalesce(sum(machine_s) FILTER (cause = 'mixed'), 0) AS mixed_s
        FROM cost_uses
        GROUP BY run, role
    ),
    shares AS (
        SELECT
            *,
            CASE WHEN sum(mixed_s) OVER of_run = 0 THEN
                coalesce(
                    prefill_s / nullif(prefill_s + decode_s, 0),
                    sum(prefill_s) OVER of_run / nullif(sum(prefill_s + decode_s) OVER of_run, 0)
                )
            END AS input_share
        FROM roles
        WINDOW of_run AS (PARTITION BY run)
    ),
    bills AS (
        SELECT
            run,
            CASE WHEN count(usd) = count(*) THEN sum(usd ORDER BY role) END AS cost_usd,
            CASE WHEN count(usd) = count(*) THEN coalesce(sum(wasted_usd ORDER BY role), 0) END
                AS wasted_usd,
            CASE WHEN count(usd) = count(*) THEN sum(usd * input_share ORDER BY role) END
                AS input_usd,
            CASE WHEN count(kwh) = count(*) THEN sum(kwh ORDER BY role) END AS energy_kwh,
            CASE WHEN count(co2_g) = count(*) THEN sum(co2_g ORDER BY role) END AS co2_g
        FROM shares
        GROUP BY run
    )
SELECT
    run_totals.run,
    whole.cost_usd,
    bills.wasted_usd,
    bills.wasted_usd / nullif(bills.cost_usd, 0) AS wasted_share,
    whole.cost_usd / nullif(run_totals.requests, 0) AS usd_per_request,
    whole.cost_usd * 1e3 / nullif(run_totals.requests, 0) AS usd_per_1000_requests,
    whole.cost_usd / nullif(goodput.good_requests_of_all, 0) AS usd_per_good_request,
    bills.input_usd,
    bills.cost_usd - bills.input_usd AS output_usd,
    bills.input_usd * 1e6 / nullif(run_totals.prompt_tokens, 0) AS usd_per_million_input_tokens,
    (bills.cost_usd - bills.input_usd) * 1e6 / nullif(run_totals.output_tokens, 0)
        AS usd_per_million_output_tokens,
    bills.energy_kwh,
    bills.energy_kwh * 3.6e6 / nullif(run_totals.output_tokens, 0) AS joules_per_output_token,
    bills.co2_g,
    bills.co2_g / nullif(run_totals.requests, 0) AS co2_g_per_request,
    tariffs.price_kind,
    tariffs.price_source,
    tariffs.busy_w,
    tariffs.idle_w,
    tariffs.power_source,
    tariffs.co2_g_per_kwh
FROM run_totals
JOIN tariffs USING (run)
LEFT JOIN bills USING (run)
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN bills.run IS NOT NULL THEN bills.cost_usd
            ELSE run_totals.price_usd_per_hour * run_totals.makespan_ns / 3.6e12
        END AS cost_usd
) AS whole
LEFT JOIN goodput USING (run)
ORDER BY run_totals.run;
