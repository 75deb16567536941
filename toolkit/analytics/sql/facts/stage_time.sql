-- What became of every nanosecond of every stage between 0 and the makespan.
-- Grain: one row per stage and part.  Reads: stage_busy, pipeline_presence, run_totals,
-- unexplained_stages.
-- Units: nanoseconds; the parts of a stage add up to the makespan exactly.
-- Definition: prefill, decode, mixed and other are work; `lost` is work that a failure undid (no row
-- where there is none); `bubble`: idle while there is work in its pipeline;
-- `waiting`: nothing in its pipeline, before its first or between two requests; `finished`: nothing
-- in its pipeline any more; `idle`: nothing done, in an imported run that does not say what there
-- was to do (unexplained_stages).
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
    known AS (
        SELECT
            stage_busy.*,
            run_totals.makespan_ns,
            coalesce(pipelines.working_ns, 0) AS working_ns,
            coalesce(pipelines.last_ns, 0) AS last_ns,
            unexplained_stages.run IS NOT NULL AS unexplained
        FROM stage_busy
        JOIN run_totals USING (run)
        LEFT JOIN pipelines USING (run, role, replica)
        LEFT JOIN unexplained_stages USING (run, track)
    ),
    wide AS (
        SELECT
            known.*,
            CASE WHEN unexplained THEN 0 ELSE working_ns - busy_ns END AS bubble_ns,
            CASE WHEN unexplained THEN 0 ELSE last_ns - working_ns END AS waiting_ns,
            CASE WHEN unexplained THEN 0 ELSE makespan_ns - last_ns END AS finished_ns,
            CASE WHEN unexplained THEN makespan_ns - busy_ns ELSE 0 END AS idle_ns
        FROM known
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
        ('other', wide.busy_ns - wide.prefill_ns - wide.decode_ns - wide.mixed_ns - wide.lost_ns),
        ('lost', nullif(wide.lost_ns, 0)),
        ('bubble', wide.bubble_ns),
        ('waiting', wide.waiting_ns),
        ('finished', wide.finished_ns),
        ('idle', wide.idle_ns)
) AS part (part, dur_ns)
WHERE part.dur_ns IS NOT NULL;
