-- What the run cost, and what a unit of service cost.
-- Grain: one row per run.  Reads: run_totals.
-- Units: machine-hours; US dollars, NULL where a machine has no stated price or the trace knows none.
-- Definition: all machines are paid for the whole makespan.  The figures per million input and per
-- million output tokens each divide the whole bill; they are two views of it, not a split.
CREATE OR REPLACE VIEW cost AS
WITH
    bill AS (
        SELECT
            *,
            makespan_ns / 3.6e12 AS hours,
            price_usd_per_hour * makespan_ns / 3.6e12 AS cost_usd
        FROM run_totals
    )
SELECT
    run,
    machines,
    machines * hours AS machine_hours,
    price_usd_per_hour,
    cost_usd,
    CASE
        WHEN machines IS NULL THEN 'no machines known'
        WHEN price_usd_per_hour IS NULL THEN 'no price stated'
        ELSE ''
    END AS note,
    cost_usd * 1e3 / nullif(requests, 0) AS usd_per_1000_requests,
    cost_usd * 1e6 / nullif(prompt_tokens, 0) AS usd_per_million_input_tokens,
    cost_usd * 1e6 / nullif(output_tokens, 0) AS usd_per_million_output_tokens,
    machines * hours * 1e3 / nullif(requests, 0) AS machine_hours_per_1000_requests
FROM bill;
