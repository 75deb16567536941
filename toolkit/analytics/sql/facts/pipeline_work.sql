-- When each pipeline had work in it.
-- Grain: one row per uninterrupted stretch with at least one request between its stages.
-- Reads: requests, machines.
-- Units: nanoseconds.
-- Definition: a request is in a colocated pipeline from its first span to its last token, in a prompt
-- pipeline until the prompt's end on the last stage, in a token pipeline from its first decode
-- pass.  Requests do not say which of several prompt pipelines took them: those share their work.
CREATE OR REPLACE VIEW pipeline_work AS
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
        JOIN requests
            ON requests.run = pipelines.run
            AND (
                pipelines.alike = 1
                OR pipelines.role = 'prompt'
                OR requests.replica = pipelines.replica
            )
    ),
    reached AS (
        SELECT
            *,
            max(until_ns) OVER (
                PARTITION BY run, role, replica ORDER BY from_ns, until_ns
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS until_before_ns
        FROM presence
        WHERE from_ns < until_ns
    ),
    numbered AS (
        SELECT
            *,
            count(*) FILTER (until_before_ns IS NULL OR from_ns > until_before_ns) OVER (
                PARTITION BY run, role, replica ORDER BY from_ns, until_ns
                ROWS UNBOUNDED PRECEDING
            ) AS stretch
        FROM reached
    )
SELECT
    run,
    role,
    replica,
    min(from_ns) AS from_ns,
    max(until_ns) AS until_ns
FROM numbered
GROUP BY run, role, replica, stretch;
