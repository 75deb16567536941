-- Where the time went in each run beside its base: the makespan, taken apart by what stages did.
-- Grain: one row per run and cause.  Reads: sides, stage_time.
-- Units: seconds of an average stage.
-- Definition: a stage's time between 0 and the makespan, by cause, averaged over the stages of the run:
-- the causes add up to the makespan, and their differences to the difference of the makespans.
CREATE OR REPLACE VIEW time_changes AS
WITH
    spent AS (
        SELECT run, part AS cause, avg(dur_ns ORDER BY track) / 1e9 AS mean_s
        FROM stage_time
        GROUP BY run, part
    ),
    causes AS (
        SELECT sides.run, sides.base_run, sides.side, spent.cause
        FROM sides
        JOIN spent ON spent.run = sides.run OR spent.run = sides.base_run
        WHERE spent.mean_s > 0
        GROUP BY sides.run, sides.base_run, sides.side, spent.cause
    )
SELECT
    causes.run,
    causes.base_run,
    causes.side,
    causes.cause,
    coalesce(base.mean_s, 0) AS base_s,
    coalesce(here.mean_s, 0) AS value_s,
    coalesce(here.mean_s, 0) - coalesce(base.mean_s, 0) AS difference_s
FROM causes
LEFT JOIN spent AS here ON here.run = causes.run AND here.cause = causes.cause
LEFT JOIN spent AS base ON base.run = causes.base_run AND base.cause = causes.cause
ORDER BY causes.run, abs(difference_s) DESC, causes.cause;
