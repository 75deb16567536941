-- Each KV cache on its way: how much, how long, what it waited for the link, what hid it.
-- Empty below trace level `full`.
-- Grain: one row per KV transfer on the side that sends.
-- Reads: transfers, waits, spans.
-- Units: nanoseconds, bytes; gigabits (1e9 bits) per second while it ran.
-- Definition: `wait_ns` is what its request waited for that link right before it left (cause
-- link_busy); a part that waits while another part of the same cache moves adds nothing.
-- `overlap_ns` is how long the sending machine's stage worked meanwhile: what of the transfer was
-- hidden behind compute; NULL where one link is shared by all and has no machine.
CREATE OR REPLACE VIEW kv_transfers AS
WITH
    moved AS (
        SELECT
            run,
            request,
            track,
            track_name,
            machine,
            start_ns,
            end_ns,
            dur_ns,
            bytes,
            gbit_per_s
        FROM transfers
        WHERE name = 'kv_transfer'
    ),
    senders AS (
        SELECT DISTINCT run, machine
        FROM moved
    ),
    -- The area under the work of each machine that sends: what it had done before each span.
    work AS (
        SELECT
            spans.run,
            spans.machine,
            spans.ts_ns,
            spans.dur_ns,
            coalesce(
                sum(spans.dur_ns) OVER (
                    PARTITION BY spans.run, spans.machine ORDER BY spans.ts_ns
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ),
                0
            )::BIGINT AS before_ns
        FROM spans
        JOIN senders USING (run, machine)
        WHERE spans.track_kind = 'stage' AND spans.depth = 0
    ),
    waited AS (
        SELECT run, request, on_track AS track, until_ns AS start_ns, max(wait_ns) AS wait_ns
        FROM waits
        WHERE cause = 'link_busy'
        GROUP BY run, request, on_track, until_ns
    ),
    at_start AS (
        SELECT
            moved.*,
            coalesce(
                work.before_ns + least(moved.start_ns - work.ts_ns, work.dur_ns), 0
            ) AS worked_ns
        FROM moved
        ASOF LEFT JOIN work
            ON work.run = moved.run
            AND work.machine = moved.machine
            AND work.ts_ns <= moved.start_ns
    ),
    at_end AS (
        SELECT
            at_start.*,
            coalesce(
                work.before_ns + least(at_start.end_ns - work.ts_ns, work.dur_ns), 0
            ) - at_start.worked_ns AS overlap_ns
        FROM at_start
        ASOF LEFT JOIN work
            ON work.run = at_start.run
            AND work.machine = at_start.machine
            AND work.ts_ns <= at_start.end_ns
    )
SELECT
    at_end.run,
    at_end.request,
    at_end.track,
    at_end.track_name,
    at_end.machine,
    at_end.start_ns,
    at_end.end_ns,
    at_end.dur_ns,
    at_end.bytes,
    at_end.gbit_per_s,
    coalesce(waited.wait_ns, 0) AS wait_ns,
    CASE WHEN at_end.machine IS NOT NULL THEN at_end.overlap_ns END AS overlap_ns
FROM at_end
LEFT JOIN waited USING (run, request, track, start_ns);
