-- What the stages, and the links that carry KV caches, did in the stretch that the timeline shows.
-- Empty at trace level `requests`; at `steps` only last stages.
-- Grain: one row per bar of a track: a span, or as many spans of one name as lie closer together
-- than a five-hundredth of the stretch.
-- Reads: timeline_window, spans, tracks.
-- Definition: `place` puts links between the stages that send and those that decode; spans of other
-- names than prefill, decode, mixed, lost, failed, starting and kv_transfer are `other`.
-- Units: seconds; `busy_s` of from_s .. until_s were work, in `spans` pieces.
CREATE OR REPLACE VIEW timeline AS
WITH
    visible AS (
        SELECT
            spans.run,
            spans.track,
            CASE
                WHEN spans.name IN (
                    'prefill', 'decode', 'mixed', 'lost', 'failed', 'starting', 'kv_transfer'
                ) THEN spans.name
                ELSE 'other'
            END AS name,
            greatest(spans.ts_ns, timeline_window.from_ns) AS from_ns,
            least(spans.end_ns, timeline_window.until_ns) AS until_ns,
            (timeline_window.until_ns - timeline_window.from_ns) // 500 AS fine_ns
        FROM spans
        JOIN timeline_window USING (run)
        WHERE
            (spans.track_kind = 'stage' OR spans.name = 'kv_transfer')
            AND spans.depth = 0
            AND spans.ts_ns < timeline_window.until_ns
            AND spans.end_ns > timeline_window.from_ns
    ),
    begun AS (
        SELECT
            *,
            coalesce(
                name <> lag(name) OVER in_order
                OR from_ns - lag(until_ns) OVER in_order > fine_ns
                OR greatest(until_ns - from_ns, lag(until_ns - from_ns) OVER in_order)
                    > 20 * fine_ns,
                true
            ) AS begins
        FROM visible
        WINDOW in_order AS (PARTITION BY run, track ORDER BY from_ns, until_ns)
    ),
    numbered AS (
        SELECT
            *,
            count(*) FILTER (begins) OVER (
                PARTITION BY run, track ORDER BY from_ns, until_ns ROWS UNBOUNDED PRECEDING
            ) AS bar
        FROM begun
    )
SELECT
    numbered.run,
    CASE WHEN tracks.kind = 'link' THEN 1 WHEN tracks.role = 'token' THEN 2 ELSE 0 END AS place,
    tracks.rank,
    tracks.track,
    tracks.name AS stage_name,
    tracks.role,
    numbered.name,
    min(numbered.from_ns) / 1e9 AS from_s,
    max(numbered.until_ns) / 1e9 AS until_s,
    sum(numbered.until_ns - numbered.from_ns) / 1e9 AS busy_s,
    count(*) AS spans
FROM numbered
JOIN tracks USING (run, track)
GROUP BY
    numbered.run,
    tracks.kind,
    tracks.rank,
    tracks.track,
    tracks.name,
    tracks.role,
    numbered.name,
    numbered.bar
ORDER BY numbered.run, place, tracks.rank, tracks.track, from_s;
