-- When each entry was in each pipeline, beside how far the entries before it reach.
-- Grain: one row per pipeline and request that spent time in it.  Reads: requests, machines.
-- Units: nanoseconds; `until_before_ns` is the latest end of those that began before, NULL for the
-- first.
-- Definition: who is in which pipeline from when to when, as pipeline_work says.
CREATE OR REPLACE VIEW pipeline_presence AS
WITH
    pipelines AS (
        SELECT run, role, replica, count(*) OVER (PARTITION BY run, role) AS alike
        FROM machines
        GROUP BY run, role, replica
    ),
    presence AS (
        SELECT
            pipelines.run,
            pipelines.role,
            pipelines.replica,
            CASE pipelines.role
                WHEN 'token' THEN requests.decode_start_ns
                ELSE requests.start_ns
            END AS from_ns,
            CASE pipelines.role
                WHEN 'prompt' THEN requests.prefill_end_ns
                ELSE requests.finish_ns
            END AS until_ns
        FROM pipelines
        JOIN requests USING (run)
        WHERE
            (pipelines.alike = 1 OR pipelines.role = 'prompt')
            AND (
                pipelines.role <> 'prompt'
                OR coalesce(requests.prompt_replica, pipelines.replica) = pipelines.replica
            )
        UNION ALL
        SELECT
            pipelines.run,
            pipelines.role,
            pipelines.replica,
            CASE pipelines.role
                WHEN 'token' THEN requests.decode_start_ns
                ELSE requests.start_ns
            END,
            requests.finish_ns
        FROM pipelines
        JOIN requests USING (run, replica)
        WHERE pipelines.alike > 1 AND pipelines.role <> 'prompt'
    )
SELECT
    run,
    role,
    replica,
    from_ns,
    until_ns,
    max(until_ns) OVER (
        PARTITION BY run, role, replica ORDER BY from_ns, until_ns
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS until_before_ns
FROM presence
WHERE from_ns < until_ns;
