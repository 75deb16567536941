-- What moved between machines, counted where it was sent.
-- Grain: one row per run and kind of transfer.  Reads: link_busy, run_totals, runs.
-- Units: bytes; seconds of link time; gigabits (1e9 bits) per second while a link was busy.
-- Definition: link_model says what competes: `per_nic`, each machine's two directions; `shared`,
-- one link for all; `none`, transfers occupy no link (the published simulators).
CREATE OR REPLACE VIEW transfer_summary AS
SELECT
    link_busy.run,
    link_busy.name,
    any_value(runs.link_model) AS link_model,
    sum(link_busy.count)::BIGINT AS transfers,
    sum(link_busy.bytes)::BIGINT AS bytes,
    sum(link_busy.busy_ns) / 1e9 AS busy_s,
    sum(link_busy.bytes) * 8.0 / nullif(sum(link_busy.busy_ns), 0) AS mean_gbit_per_s,
    sum(link_busy.busy_ns) / 1e9 / sum(link_busy.count) AS mean_transfer_s,
    max(link_busy.busy_ns) / nullif(any_value(run_totals.makespan_ns), 0) AS busiest_link_share
FROM link_busy
JOIN run_totals USING (run)
JOIN runs USING (run)
WHERE link_busy.name IN ('activation', 'kv_transfer', 'replica', 'restore', 'swap_in', 'swap_out')
GROUP BY link_busy.run, link_busy.name
ORDER BY link_busy.run, link_busy.name;
