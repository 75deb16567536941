-- When each microbatch was in each pipeline.
-- Grain: one row per pipeline and microbatch that spent time in it.
-- Reads: requests, machines, waits.
-- Units: nanoseconds.
-- Definition: from `from_ns` to `until_ns` it was between the stages, as pipeline_work says for its
-- requests; `entered_ns` is when it had its place: it waits for nothing but a stage from then on.
CREATE OR REPLACE VIEW pipeline_batches AS
WITH
    pipelines AS (
        SELECT run, role, replica, count(*) OVER (PARTITION BY run, role) AS alike
        FROM machines
        GROUP BY run, role, replica
    ),
    batches AS (
        SELECT
            run,
            lead,
            any_value(replica) AS replica,
            any_value(prompt_replica) AS prompt_replica,
            min(arrival_ns) FILTER (request = lead) AS arrival_ns,
            min(start_ns) AS start_ns,
            max(prefill_end_ns) AS prefill_end_ns,
            max(coalesce(kv_ready_ns, prefill_end_ns)) AS ready_ns,
            min(decode_start_ns) AS decode_start_ns,
            max(finish_ns) AS finish_ns
        FROM requests
        GROUP BY run, lead
    ),
    admitted AS (
        SELECT
            batches.run,
            batches.lead,
            max(waits.until_ns) FILTER (waits.until_ns <= batches.start_ns) AS to_start_ns,
            max(waits.until_ns) FILTER (
                waits.from_ns >= batches.ready_ns AND waits.until_ns <= batches.decode_start_ns
            ) AS to_decode_ns
        FROM batches
        JOIN waits ON waits.run = batches.run AND waits.request = batches.lead
        WHERE waits.cause IN ('packing', 'queue', 'kv_room')
        GROUP BY batches.run, batches.lead
    ),
    stays AS (
        SELECT
            pipelines.run,
            pipelines.role,
            pipelines.replica,
            batches.lead,
            CASE pipelines.role
                WHEN 'token' THEN coalesce(admitted.to_decode_ns, batches.ready_ns)
                ELSE coalesce(admitted.to_start_ns, batches.arrival_ns)
            END AS entered_ns,
            CASE pipelines.role
                WHEN 'token' THEN batches.decode_start_ns
                ELSE batches.start_ns
            END AS from_ns,
            CASE pipelines.role
                WHEN 'prompt' THEN batches.prefill_end_ns
                ELSE batches.finish_ns
            END AS until_ns
        FROM pipelines
        JOIN batches
            ON batches.run = pipelines.run
            AND CASE pipelines.role
                WHEN 'prompt' THEN
                    coalesce(batches.prompt_replica, pipelines.replica) = pipelines.replica
                ELSE pipelines.alike = 1 OR batches.replica = pipelines.replica
            END
        LEFT JOIN admitted ON admitted.run = batches.run AND admitted.lead = batches.lead
    )
SELECT
    run,
    role,
    replica,
    lead,
    least(entered_ns, from_ns) AS entered_ns,
    from_ns,
    until_ns
FROM stays
WHERE from_ns < until_ns;
