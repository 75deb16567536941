-- Where the money went in each run beside its base: the bill, taken apart by what machines did.
-- Grain: one row per run and cause.  Reads: sides, cost_parts.
-- Units: US dollars, NULL where no price is stated.
-- Definition: causes as in time_changes; they add up to the bill, and their differences to the
-- difference of the bills.
CREATE OR REPLACE VIEW money_changes AS
WITH
    spent AS (
        SELECT run, part AS cause, sum(cost_usd ORDER BY role) AS cost_usd
        FROM cost_parts
        GROUP BY run, part
    ),
    priced AS (
        SELECT run, bool_and(cost_usd IS NOT NULL) AS known
        FROM cost_parts
        GROUP BY run
    ),
    causes AS (
        SELECT sides.run, sides.base_run, sides.side, spent.cause
        FROM sides
        JOIN spent ON spent.run = sides.run OR spent.run = sides.base_run
        GROUP BY sides.run, sides.base_run, sides.side, spent.cause
    )
SELECT
    causes.run,
    causes.base_run,
    causes.side,
    causes.cause,
    CASE WHEN base_priced.known THEN coalesce(base.cost_usd, 0) END AS base_usd,
    CASE WHEN here_priced.known THEN coalesce(here.cost_usd, 0) END AS value_usd,
    CASE WHEN base_priced.known AND here_priced.known THEN
        coalesce(here.cost_usd, 0) - coalesce(base.cost_usd, 0)
    END AS difference_usd
FROM causes
LEFT JOIN spent AS here ON here.run = causes.run AND here.cause = causes.cause
LEFT JOIN spent AS base ON base.run = causes.base_run AND base.cause = causes.cause
LEFT JOIN priced AS here_priced ON here_priced.run = causes.run
LEFT JOIN priced AS base_priced ON base_priced.run = causes.base_run
ORDER BY causes.run, abs(difference_usd) DESC NULLS LAST, causes.cause;
