-- How busy each link was, and what it carried.
-- Grain: one row per link and kind of transfer.  Reads: link_busy, run_totals.
-- Units: seconds; bytes; gigabits (1e9 bits) per second while busy; share of the makespan.
CREATE OR REPLACE VIEW link_utilisation AS
SELECT
    link_busy.run,
    link_busy.link,
    link_busy.name,
    link_busy.count AS transfers,
    link_busy.bytes,
    link_busy.busy_ns / 1e9 AS busy_s,
    link_busy.bytes * 8.0 / nullif(link_busy.busy_ns, 0) AS gbit_per_s,
    link_busy.busy_ns / nullif(run_totals.makespan_ns, 0) AS busy_share
FROM link_busy
JOIN run_totals USING (run)
ORDER BY link_busy.run, link_busy.rank, link_busy.track, link_busy.name;
