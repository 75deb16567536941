-- Where the end-to-end time of each request went, with names: its own work by phase, and every wait
-- with whom it was for.
-- Grain: one row per served entry, part, blocker and track.
-- Reads: request_blockers, request_pieces, request_time.
-- Units: nanoseconds; the parts of an entry add up to finish - arrival exactly.
-- Definition: `prefill` and `decode` are its own passes, hand-overs between stages included (at trace
-- level `requests`: `work`, undivided; of an imported run `unsplit`); the other parts are the causes of request_time.  `kind` puts
-- them in classes: own work, behind others, bubble (a stage stood idle: head of line, or a microbatch
-- that was filling or padded), link contention, KV shortage, preemption, failure, unsplit.
CREATE OR REPLACE VIEW request_parts AS
WITH
    phases AS (
        SELECT run, request, part, sum(dur_ns)::BIGINT AS dur_ns
        FROM request_pieces
        WHERE part IN ('prefill', 'decode')
        GROUP BY run, request, part
    ),
    parts AS (
        SELECT run, request, cause AS part, on_request, on_track, wait_ns AS dur_ns
        FROM request_blockers
        WHERE wait_ns > 0
        UNION ALL
        SELECT run, request, part, NULL, NULL, dur_ns
        FROM phases
        UNION ALL
        SELECT run, request, part, NULL, NULL, dur_ns
        FROM request_time
        ANTI JOIN phases USING (run, request)
        WHERE part IN ('work', 'unsplit')
    )
SELECT
    run,
    request,
    CASE
        WHEN part IN ('prefill', 'decode', 'work', 'transfer') THEN 'own work'
        WHEN part IN ('queue', 'behind_prompt', 'behind_batch') THEN 'behind others'
        WHEN part IN ('packing', 'padding', 'head_of_line') THEN 'bubble'
        WHEN part = 'link_busy' THEN 'link contention'
        WHEN part IN ('kv_room', 'swapped') THEN 'KV shortage'
        WHEN part = 'preempted' THEN 'preemption'
        WHEN part IN ('failed', 'recovering') THEN 'failure'
        ELSE part
    END AS kind,
    part,
    on_request,
    on_track,
    dur_ns
FROM parts;
