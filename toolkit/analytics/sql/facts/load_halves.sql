-- Arrivals, and what became of them, in the second half of the time in which requests arrive: what
-- says whether a deployment keeps up.
-- Grain: one row per run.  Reads: requests, runs.
-- Units: nanoseconds; requests count `size`.
-- Definition: the span is the time from the first arrival to the last.  Of its second half: how many
-- `arrived`, `finished` and were `refused` then; how long those that arrived then waited until a
-- stage took them up, and how long they were served from there on, on average; and how many were in
-- the system (arrived, neither finished nor refused), and of these were waiting for their start, on
-- average over the third quarter of the span and over the fourth.  The first half, in which a deployment fills up, says nothing.
CREATE OR REPLACE VIEW load_halves AS
WITH
    spans AS (
        SELECT
            run,
            count(*) AS entries,
            bool_and(arrival_ns IS NOT NULL) AND bool_and(outcome <> 'served' OR (
                start_ns IS NOT NULL AND finish_ns IS NOT NULL
            )) AS told,
            min(arrival_ns) AS first_ns,
            max(arrival_ns) AS last_ns,
            -- Whole numbers of nanoseconds, so that the sums below are exact.
            (max(arrival_ns) - min(arrival_ns)) // 4 AS quarter_ns
        FROM requests
        GROUP BY run
    ),
    placed AS (
        SELECT
            requests.run,
            requests.size,
            requests.outcome,
            requests.arrival_ns,
            requests.start_ns,
            requests.finish_ns,
            spans.last_ns,
            spans.last_ns - 2 * spans.quarter_ns AS middle_ns,
            spans.last_ns - spans.quarter_ns AS three_quarters_ns
        FROM requests
        JOIN spans USING (run)
        WHERE spans.told
    ),
    counted AS (
        SELECT
            run,
            sum(size) FILTER (arrival_ns >= middle_ns) AS arrived,
            sum(size) FILTER (
                outcome = 'served' AND finish_ns > middle_ns AND finish_ns <= last_ns
            ) AS finished,
            sum(size) FILTER (outcome <> 'served' AND arrival_ns >= middle_ns) AS refused,
            sum(size * (start_ns - arrival_ns)) FILTER (
                outcome = 'served' AND arrival_ns >= middle_ns
            ) AS waited_ns,
            sum(size * (finish_ns - start_ns)) FILTER (
                outcome = 'served' AND arrival_ns >= middle_ns
            ) AS served_ns,
            sum(size) FILTER (outcome = 'served' AND arrival_ns >= middle_ns) AS served,
            sum(
                size * greatest(
                    least(finish_ns, three_quarters_ns) - greatest(arrival_ns, middle_ns), 0
                )
            ) FILTER (outcome = 'served') AS third_request_ns,
            sum(
                size * greatest(least(finish_ns, last_ns) - greatest(arrival_ns, three_quarters_ns), 0)
            ) FILTER (outcome = 'served') AS fourth_request_ns,
            sum(
                size * greatest(
                    least(start_ns, three_quarters_ns) - greatest(arrival_ns, middle_ns), 0
                )
            ) FILTER (outcome = 'served') AS third_waiting_ns,
            sum(
                size * greatest(least(start_ns, last_ns) - greatest(arrival_ns, three_quarters_ns), 0)
            ) FILTER (outcome = 'served') AS fourth_waiting_ns
        FROM placed
        GROUP BY run
    )
SELECT
    runs.run,
    spans.entries,
    coalesce(spans.told, false) AS told,
    spans.last_ns - spans.first_ns AS span_ns,
    coalesce(counted.arrived, 0)::BIGINT AS arrived,
    coalesce(counted.finished, 0)::BIGINT AS finished,
    coalesce(counted.refused, 0)::BIGINT AS refused,
    counted.waited_ns / nullif(counted.served, 0) AS mean_wait_ns,
    counted.served_ns / nullif(counted.served, 0) AS mean_service_ns,
    coalesce(counted.third_request_ns, 0) / nullif(spans.quarter_ns, 0) AS third_in_system,
    coalesce(counted.fourth_request_ns, 0) / nullif(spans.quarter_ns, 0) AS fourth_in_system,
    coalesce(counted.third_waiting_ns, 0) / nullif(spans.quarter_ns, 0) AS third_waiting,
    coalesce(counted.fourth_waiting_ns, 0) / nullif(spans.quarter_ns, 0) AS fourth_waiting
FROM runs
LEFT JOIN spans USING (run)
LEFT JOIN counted USING (run);
