-- How late each request was beside the others of its run.
-- Grain: one row per served entry (with arrival and finish).  Reads: requests.
-- Units: nanoseconds; share of the run's requests.
-- Definition: by end-to-end time, `rank` 1 the slowest (of equals the lower key first);
-- `share_at_most` of all requests took no longer, each entry counting `size`.
CREATE OR REPLACE VIEW request_rank AS
SELECT
    run,
    request,
    size,
    finish_ns - arrival_ns AS e2e_ns,
    row_number() OVER (PARTITION BY run ORDER BY finish_ns - arrival_ns DESC, request) AS rank,
    sum(size) OVER (PARTITION BY run ORDER BY finish_ns - arrival_ns)
        / sum(size) OVER (PARTITION BY run) AS share_at_most
FROM requests
WHERE outcome = 'served' AND arrival_ns IS NOT NULL AND finish_ns IS NOT NULL;
