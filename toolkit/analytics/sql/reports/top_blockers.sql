-- Who kept the others waiting: the requests (or microbatches, by their lead) that held what others
-- needed, the worst first.
-- Grain: one row per run, blocker and cause.  Reads: request_blockers, requests.
-- Units: seconds, summed over the requests that waited (each entry counts `size` times); share of all
-- waiting in the run.
-- Definition: who is named for a wait is as request_blockers says; empty at trace level `requests`
-- but for waits before the first span.
CREATE OR REPLACE VIEW top_blockers AS
WITH
    held AS (
        SELECT
            blockers.run,
            blockers.on_request,
            blockers.cause,
            waiter.size,
            blockers.request,
            blockers.wait_ns,
            sum(blockers.wait_ns * waiter.size) OVER (PARTITION BY blockers.run) AS all_ns
        FROM request_blockers AS blockers
        JOIN requests AS waiter USING (run, request)
    ),
    added AS (
        SELECT
            run,
            on_request,
            cause,
            -- An entry that waited for it on several stages is one all the same.
            count(DISTINCT request) AS entries_held,
            sum(wait_ns * size) / 1e9 AS wait_s,
            sum(wait_ns * size) / nullif(any_value(all_ns), 0) AS share
        FROM held
        WHERE on_request IS NOT NULL
        GROUP BY run, on_request, cause
    )
SELECT
    added.run,
    added.on_request AS request,
    added.cause,
    row_number() OVER (
        PARTITION BY added.run ORDER BY added.wait_s DESC, added.on_request, added.cause
    ) AS rank,
    added.wait_s,
    added.share,
    added.entries_held,
    blocker.size,
    blocker.prompt_tokens,
    blocker.output_tokens
FROM added
JOIN requests AS blocker ON blocker.run = added.run AND blocker.request = added.on_request
ORDER BY added.run, rank;
