-- Which engine's steps each request was in, and from when to when, save where it waited.
-- Grain: one row per served request of a run with continuous batching and engine: one, or that of
-- its prompt and that of its answer.  Reads: runs, requests, tracks.
-- Units: nanoseconds since the start of the simulation.
-- Definition: from its first step to its finish; where it was handed over, from its first step to its
-- prompt's end, and from its first decode to its finish.
CREATE OR REPLACE VIEW engine_places AS
WITH
    entry AS (
        SELECT requests.*
        FROM requests
        JOIN runs USING (run)
        WHERE runs.batching = 'continuous' AND requests.outcome = 'served'
    ),
    places AS (
        SELECT run, request, replica, start_ns AS from_ns, finish_ns AS until_ns
        FROM entry
        WHERE prompt_replica IS NULL OR prompt_replica = replica
        UNION ALL
        SELECT run, request, prompt_replica, start_ns, prefill_end_ns
        FROM entry
        WHERE prompt_replica <> replica
        UNION ALL
        SELECT run, request, replica, decode_start_ns, finish_ns
        FROM entry
        WHERE prompt_replica <> replica
    )
SELECT
    places.run,
    places.request,
    places.replica,
    tracks.track,
    places.from_ns,
    places.until_ns
FROM places
JOIN tracks ON tracks.run = places.run AND tracks.replica = places.replica
WHERE tracks.kind = 'stage';
