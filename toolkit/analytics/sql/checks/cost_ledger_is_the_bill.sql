-- The dollars of the cost ledger are the bill: each machine's price for the whole makespan.
-- Grain: one row per run where they differ by more than a billionth.
-- Reads: cost_ledger, machines, run_totals.
-- Units: US dollars.
CREATE OR REPLACE VIEW cost_ledger_is_the_bill AS
WITH
    bills AS (
        SELECT
            machines.run,
            sum(machines.price_usd_per_hour * run_totals.makespan_ns / 3.6e12) AS bill_usd
        FROM machines
        JOIN run_totals USING (run)
        GROUP BY machines.run
    ),
    ledgers AS (
        SELECT run, sum(cost_usd) AS ledger_usd
        FROM cost_ledger
        GROUP BY run
    )
SELECT bills.run, bills.bill_usd, ledgers.ledger_usd
FROM bills
LEFT JOIN ledgers USING (run)
WHERE
    bills.bill_usd > 0
    AND abs(coalesce(ledgers.ledger_usd, 0) - bills.bill_usd) > 1e-9 * bills.bill_usd;
