-- How much was served per second of the makespan.
-- Grain: one row per run.  Reads: run_totals.
-- Units: seconds; per second of the makespan.
-- Definition: entries_per_s is the published simulators' throughput (an entry is what the workload
-- lists: a microbatch or a request); requests and tokens count `size`; total tokens are prompt and
-- output; mean_requests_in_system is Little's law: time in the system, added up, by the makespan.
CREATE OR REPLACE VIEW throughput AS
SELECT
    run,
    makespan_ns / 1e9 AS makespan_s,
    entries,
    requests,
    prompt_tokens,
    output_tokens,
    entries / nullif(makespan_ns / 1e9, 0) AS entries_per_s,
    requests / nullif(makespan_ns / 1e9, 0) AS requests_per_s,
    output_tokens / nullif(makespan_ns / 1e9, 0) AS output_tokens_per_s,
    (prompt_tokens + output_tokens) / nullif(makespan_ns / 1e9, 0) AS total_tokens_per_s,
    in_system_ns / nullif(makespan_ns, 0) AS mean_requests_in_system
FROM run_totals;
