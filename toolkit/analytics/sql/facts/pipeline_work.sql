-- When each pipeline had work in it.
-- Grain: one row per uninterrupted stretch with at least one request between its stages.
-- Reads: pipeline_presence.
-- Units: nanoseconds.
-- Definition: a request is in a colocated pipeline from its first span to its last token, in a prompt
-- pipeline until the prompt's end on the last stage, in a token pipeline from its first decode
-- pass.  Where requests do not say which of several prompt pipelines took them, those share their work.
CREATE OR REPLACE VIEW pipeline_work AS
WITH
    numbered AS (
        SELECT
            *,
            count(*) FILTER (until_before_ns IS NULL OR from_ns > until_before_ns) OVER (
                PARTITION BY run, role, replica ORDER BY from_ns, until_ns
                ROWS UNBOUNDED PRECEDING
            ) AS stretch
        FROM pipeline_presence
    )
SELECT
    run,
    role,
    replica,
    min(from_ns) AS from_ns,
    max(until_ns) AS until_ns
FROM numbered
GROUP BY run, role, replica, stretch;
