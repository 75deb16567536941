-- What became of every nanosecond of every stage between 0 and the makespan.
-- Grain: one row per stage and part.  Reads: stage_busy, pipeline_presence, run_totals.
-- Units: nanoseconds; the parts of a stage add up to the makespan exactly.
-- Definition: prefill, decode, mixed and other are work; `bubble`: idle while there is work in its pipeline;
-- `waiting`: nothing in its pipeline, before its first or between two requests; `finished`: nothing
-- in its pipeline any more.
CREATE OR REPLACE VIEW stage_time AS
WITH
    pipelines AS (
        SELECT
            run,
            role,
            replica,
            -- What each request adds to what those before it cover.
            sum(greatest(until_ns - greatest(from_ns, coalesce(until_before_ns, from_ns)), 0))::BIGINT
                AS working_ns,
            max(until_ns) AS last_ns
        FROM pipeline_presence
        GROUP BY run, role, replica
    ),
    wide AS (
        SELECT
            stage_busy.*,
            coalesce(pipelines.working_ns, 0) - stage_busy.busy_ns AS bubble_ns,
            coalesce(pipelines.last_ns, 0) - coalesce(pipelines.working_ns, 0) AS waiting_ns,
            run_totals.makespan_ns - coalesce(pipelines.last_ns, 0) AS finished_ns
        FROM stage_busy
        JOIN run_totals USING (run)
        LEFT JOIN pipelines USING (run, role, replica)
    )
SELECT
    wide.run,
    wide.track,
    wide.stage_name,
    wide.rank,
    wide.machine,
    wide.machine_name,
    wide.role,
    wide.replica,
    wide.stage,
    part.part,
    part.dur_ns
FROM wide
CROSS JOIN LATERAL (
    VALUES
        ('prefill', wide.prefill_ns),
        ('decode', wide.decode_ns),
        ('mixed', wide.mixed_ns),
        ('other', wide.busy_ns - wide.prefill_ns - wide.decode_ns - wide.mixed_ns),
        ('bubble', wide.bubble_ns),
        ('waiting', wide.waiting_ns),
        ('finished', wide.finished_ns)
) AS part (part, dur_ns);
