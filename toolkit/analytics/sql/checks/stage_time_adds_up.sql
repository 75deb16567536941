-- A stage never works longer than its pipeline has work, nor its parts beyond the makespan.
-- Grain: one row per stage and part with a time below zero.  Reads: stage_time.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW stage_time_adds_up AS
SELECT run, track, stage_name, part, dur_ns
FROM stage_time
WHERE dur_ns < 0;
