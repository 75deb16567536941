-- When each request of an engine was in its steps, one after the other.  Empty at level `requests`.
-- Grain: one row per served request of a run with continuous batching and stretch without a wait.
-- Reads: runs, requests, engine_places, waits.
-- Units: nanoseconds since the start of the simulation.
-- Definition: `prefill` up to its first token, `decode` after it; `track` is its engine's stage.
CREATE OR REPLACE VIEW engine_stays AS
WITH
    entry AS (
        SELECT
            engine_places.run,
            engine_places.request,
            engine_places.track,
            engine_places.from_ns AS start_ns,
            requests.prefill_end_ns,
            engine_places.until_ns AS finish_ns
        FROM engine_places
        JOIN requests USING (run, request)
        JOIN runs USING (run)
        WHERE runs.level <> 'requests'
    ),
    edges AS (
        SELECT waits.run, waits.request, entry.track, waits.from_ns, waits.until_ns
        FROM waits
        JOIN entry USING (run, request)
        WHERE waits.from_ns >= entry.start_ns AND waits.from_ns < entry.finish_ns
        UNION ALL
        SELECT run, request, track, moment.at_ns, moment.at_ns
        FROM entry
        CROSS JOIN LATERAL (
            VALUES (start_ns), (prefill_end_ns), (finish_ns)
        ) AS moment (at_ns)
        WHERE moment.at_ns BETWEEN start_ns AND finish_ns
    ),
    spaced AS (
        SELECT
            *,
            max(until_ns) OVER (
                PARTITION BY run, request, track ORDER BY from_ns, until_ns
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS before_ns
        FROM edges
    )
SELECT
    spaced.run,
    spaced.request,
    CASE WHEN spaced.from_ns <= entry.prefill_end_ns THEN 'prefill' ELSE 'decode' END AS what,
    entry.track,
    spaced.before_ns AS from_ns,
    spaced.from_ns AS until_ns
FROM spaced
JOIN entry USING (run, request, track)
WHERE spaced.from_ns > spaced.before_ns;
