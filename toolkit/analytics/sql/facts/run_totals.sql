-- How long a run took and how much it served: the denominators of every rate.
-- Grain: one row per run.  Reads: runs, requests, machines.
-- Units: nanoseconds; requests and tokens count `size`.  NULL is unknown: an imported run may have no
-- requests, no machines, or requests whose arrivals or tokens it does not say.
-- Definition: the makespan runs from 0, not from the first arrival, to the last token of all (or until
-- the machines let go of the last request that was given up); of an imported run, to its end, which
-- without requests is that of its last span.  Requests and tokens are those that were served.
CREATE OR REPLACE VIEW run_totals AS
WITH
    served AS (
        SELECT
            run,
            count(*) AS entries,
            sum(size)::BIGINT AS requests,
            CASE WHEN count(prompt_tokens) = count(*) THEN sum(size * prompt_tokens)::BIGINT END
                AS prompt_tokens,
            CASE WHEN count(output_tokens) = count(*) THEN sum(size * output_tokens)::BIGINT END
                AS output_tokens,
            CASE WHEN count(arrival_ns) = count(*) THEN
                sum(size * (finish_ns - arrival_ns))::BIGINT
            END
                AS in_system_ns
        FROM requests
        WHERE outcome = 'served'
        GROUP BY run
    ),
    offered AS (
        SELECT run, max(finish_ns) AS makespan_ns, sum(size)::BIGINT AS offered_requests
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
    coalesce(runs.end_ns, offered.makespan_ns, 0) AS makespan_ns,
    CASE WHEN served.run IS NOT NULL THEN served.entries WHEN offered.run IS NOT NULL THEN 0 END
        AS entries,
    CASE WHEN served.run IS NOT NULL THEN served.requests WHEN offered.run IS NOT NULL THEN 0 END
        AS requests,
    offered.offered_requests,
    CASE
        WHEN served.run IS NOT NULL THEN served.prompt_tokens
        WHEN offered.run IS NOT NULL THEN 0
    END AS prompt_tokens,
    CASE
        WHEN served.run IS NOT NULL THEN served.output_tokens
        WHEN offered.run IS NOT NULL THEN 0
    END AS output_tokens,
    CASE
        WHEN served.run IS NOT NULL THEN served.in_system_ns
        WHEN offered.run IS NOT NULL THEN 0
    END AS in_system_ns,
    coalesce(runs.stated_machines, paid.machines) AS machines,
    coalesce(
        runs.stated_usd_per_hour * coalesce(runs.stated_machines, paid.machines),
        paid.price_usd_per_hour
    ) AS price_usd_per_hour
FROM runs
LEFT JOIN served USING (run)
LEFT JOIN offered USING (run)
LEFT JOIN paid USING (run);
