-- How long a run took and how much it served: the denominators of every rate.
-- Grain: one row per run.  Reads: runs, requests, machines.
-- Units: nanoseconds; requests and tokens count `size`.
-- Definition: the makespan runs from 0, not from the first arrival, to the last token of all.
CREATE OR REPLACE VIEW run_totals AS
WITH
    served AS (
        SELECT
            run,
            max(finish_ns) AS makespan_ns,
            count(*) AS entries,
            sum(size)::BIGINT AS requests,
            sum(size * prompt_tokens)::BIGINT AS prompt_tokens,
            sum(size * output_tokens)::BIGINT AS output_tokens,
            sum(size * (finish_ns - arrival_ns))::BIGINT AS in_system_ns
        FROM requests
        WHERE outcome = 'served'
        GROUP BY run
    ),
    offered AS (
        SELECT run, sum(size)::BIGINT AS offered_requests
        FROM requests
        GROUP BY run
    ),
    paid AS (
        SELECT
            run,
            count(*) AS machines,
            CASE WHEN count(price_usd_per_hour) = count(*) THEN
                sum(price_usd_per_hour ORDER BY machine)
            END
                AS price_usd_per_hour
        FROM machines
        GROUP BY run
    )
SELECT
    runs.run,
    coalesce(served.makespan_ns, 0) AS makespan_ns,
    coalesce(served.entries, 0) AS entries,
    coalesce(served.requests, 0) AS requests,
    coalesce(offered.offered_requests, 0) AS offered_requests,
    coalesce(served.prompt_tokens, 0) AS prompt_tokens,
    coalesce(served.output_tokens, 0) AS output_tokens,
    coalesce(served.in_system_ns, 0) AS in_system_ns,
    coalesce(paid.machines, 0) AS machines,
    paid.price_usd_per_hour
FROM runs
LEFT JOIN served USING (run)
LEFT JOIN offered USING (run)
LEFT JOIN paid USING (run);
