-- The decode passes of each microbatch as its last stage ended them: when its tokens were out.
-- Empty at trace level `requests`; complete at `steps` and `full`; engines' tokens are in engine_tokens.
-- Grain: one row per microbatch (by its lead) and decode pass.
-- Reads: spans, tracks.
-- Units: nanoseconds since the start of the simulation.
-- Definition: a pass that a failure undid after its end had put out its token: what was computed
-- again put out none.
CREATE OR REPLACE VIEW token_passes AS
WITH
    numbered AS (
        SELECT
            run,
            track,
            stage = max(stage) OVER (PARTITION BY run, role, replica) AS is_last
        FROM tracks
        WHERE kind = 'stage'
    ),
    undone AS (
        SELECT spans.run, spans.request, spans.token, min(spans.end_ns) AS end_ns
        FROM spans
        JOIN numbered USING (run, track)
        WHERE numbered.is_last AND spans.name = 'lost' AND spans.token IS NOT NULL
        GROUP BY spans.run, spans.request, spans.token
    )
SELECT
    spans.run,
    spans.request AS lead,
    spans.token AS pass,
    spans.end_ns
FROM spans
JOIN numbered USING (run, track)
ANTI JOIN undone
    ON undone.run = spans.run
    AND undone.request = spans.request
    AND undone.token = spans.token
WHERE numbered.is_last AND spans.name = 'decode' AND spans.depth = 0
UNION ALL
SELECT run, request, token, end_ns
FROM undone;
