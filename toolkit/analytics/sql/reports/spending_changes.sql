-- Where the time and the money of each side of a comparison went beside the first side's: makespan
-- and bill, taken apart by what stages did.
-- Grain: one row per side (`run` is its first run) and cause.
-- Reads: sides, runs, run_totals, stage_spending.
-- Units: seconds of an average stage; US dollars, NULL where a side has no stated price.
-- Definition: causes as in time_ledger, or where runs of several trace levels, or imported and
-- simulated ones, are compared as in stage_time; a side's value is the mean over its runs.  The causes add up to makespan and bill, their
-- differences to those of makespan and bill.
CREATE OR REPLACE VIEW spending_changes AS
WITH
    chosen AS (
        SELECT
            CASE WHEN count(DISTINCT (level, source IS NULL)) = 1 THEN 'ledger' ELSE 'parts' END
                AS detail
        FROM runs
    ),
    sizes AS (
        SELECT
            sides.side,
            min_by(sides.run, sides.ordinal) AS run,
            count(*) AS runs,
            count(run_totals.price_usd_per_hour) = count(*) AS priced
        FROM sides
        JOIN run_totals USING (run)
        GROUP BY sides.side
    ),
    spent AS (
        SELECT
            sides.side,
            stage_spending.cause,
            sum(stage_spending.mean_ns ORDER BY sides.ordinal) / 1e9 AS all_s,
            sum(stage_spending.cost_usd ORDER BY sides.ordinal) AS all_usd
        FROM stage_spending
        JOIN chosen USING (detail)
        JOIN sides USING (run)
        GROUP BY sides.side, stage_spending.cause
    ),
    causes AS (
        SELECT DISTINCT sizes.side, sizes.run, sizes.runs, sizes.priced, spent.cause
        FROM sizes
        JOIN spent ON spent.side IN (0, sizes.side)
    ),
    compared AS (
        SELECT
            causes.run,
            causes.side,
            causes.cause,
            coalesce(base.all_s, 0) / base_size.runs AS base_s,
            coalesce(here.all_s, 0) / causes.runs AS value_s,
            CASE WHEN base_size.priced THEN coalesce(base.all_usd, 0) / base_size.runs END AS base_usd,
            CASE WHEN causes.priced THEN coalesce(here.all_usd, 0) / causes.runs END AS value_usd
        FROM causes
        JOIN sizes AS base_size ON base_size.side = 0
        LEFT JOIN spent AS here ON here.side = causes.side AND here.cause = causes.cause
        LEFT JOIN spent AS base ON base.side = 0 AND base.cause = causes.cause
    )
SELECT
    run,
    side,
    cause,
    base_s,
    value_s,
    value_s - base_s AS difference_s,
    base_usd,
    value_usd,
    value_usd - base_usd AS difference_usd
FROM compared
ORDER BY side, abs(difference_s) DESC, cause;
