-- What failures did to a run, and what they cost.
-- Grain: one row per run.
-- Reads: run_totals, machines, tracks, totals, stage_busy, interrupted, held_up.
-- Units: seconds, bytes, US dollars (NULL where a machine has no stated price); shares of machine time;
-- requests count `size`.
-- Definition: `availability` is the share of machine time in which machines are up, `mttr_s` the mean
-- time from a failure until its machine is back (cut at the makespan), `mtbf_s` the mean time a machine
-- is up between failures.  `restarted_requests` were in flight in a pipeline as it failed, counted
-- once each time; `held_up_requests` waited for it before they had a place.  `lost_s` is stage time of
-- work that was thrown away, of `lost_passes` on the last stages; it was computed again.  `down_usd` is
-- the price of the machines' own down time and `lost_usd` that of the work; what the other stages of
-- a pipeline waited meanwhile is in cost_ledger.  `replica_bytes` were sent to be kept,
-- `restored_bytes` came back.
CREATE OR REPLACE VIEW reliability AS
WITH
    fleet AS (
        SELECT run, count(*) AS machines
        FROM machines
        GROUP BY run
    ),
    moved AS (
        SELECT
            totals.run,
            coalesce(sum(totals.count) FILTER (name = 'failed'), 0) AS failures,
            coalesce(sum(totals.busy_ns) FILTER (name IN ('failed', 'starting')), 0) AS down_ns,
            coalesce(sum(totals.bytes) FILTER (name = 'replica'), 0)::BIGINT AS replica_bytes,
            coalesce(sum(totals.bytes) FILTER (name = 'restore'), 0)::BIGINT AS restored_bytes,
            coalesce(sum(totals.busy_ns) FILTER (name = 'lost'), 0) AS lost_ns,
            coalesce(sum(totals.count) FILTER (name = 'lost' AND numbered.is_last), 0)
                AS lost_passes
        FROM totals
        LEFT JOIN (
            SELECT run, track, stage = max(stage) OVER (PARTITION BY run, role, replica) AS is_last
            FROM tracks
            WHERE kind = 'stage'
        ) AS numbered USING (run, track)
        WHERE totals.name IN ('failed', 'starting', 'replica', 'restore', 'lost')
        GROUP BY totals.run
    ),
    hit AS (
        SELECT
            run,
            sum(requests)::BIGINT AS requests,
            avg(recovering_ns) FILTER (recovering_ns > 0) AS recovering_ns
        FROM interrupted
        GROUP BY run
    ),
    waiting AS (
        SELECT run, sum(requests)::BIGINT AS requests
        FROM (SELECT DISTINCT run, lead, requests FROM held_up)
        GROUP BY run
    ),
    paid AS (
        SELECT
            tracks.run,
            sum(totals.busy_ns * machines.price_usd_per_hour) FILTER (
                totals.name IN ('failed', 'starting')
            ) / 3.6e12 AS down_usd,
            sum(totals.busy_ns * machines.price_usd_per_hour) FILTER (totals.name = 'lost')
                / 3.6e12 AS lost_usd
        FROM totals
        JOIN tracks USING (run, track)
        JOIN machines ON machines.run = tracks.run AND machines.machine = tracks.machine
        WHERE totals.name IN ('failed', 'starting', 'lost') AND tracks.kind = 'stage'
        GROUP BY tracks.run
    ),
    worked AS (
        SELECT run, sum(busy_ns) AS busy_ns
        FROM stage_busy
        GROUP BY run
    )
SELECT
    run_totals.run,
    fleet.machines,
    coalesce(moved.failures, 0)::BIGINT AS failures,
    coalesce(moved.down_ns, 0) / 1e9 AS down_s,
    1 - coalesce(moved.down_ns, 0) / nullif(fleet.machines * run_totals.makespan_ns, 0)
        AS availability,
    moved.down_ns / nullif(moved.failures, 0) / 1e9 AS mttr_s,
    (fleet.machines * run_totals.makespan_ns - moved.down_ns) / nullif(moved.failures, 0) / 1e9
        AS mtbf_s,
    coalesce(hit.requests, 0) AS restarted_requests,
    coalesce(waiting.requests, 0) AS held_up_requests,
    hit.recovering_ns / 1e9 AS recovering_s,
    coalesce(moved.lost_ns, 0) / 1e9 AS lost_s,
    coalesce(moved.lost_ns, 0) / nullif(worked.busy_ns, 0) AS lost_share,
    coalesce(moved.lost_passes, 0)::BIGINT AS lost_passes,
    paid.down_usd,
    paid.lost_usd,
    coalesce(moved.replica_bytes, 0) AS replica_bytes,
    coalesce(moved.restored_bytes, 0) AS restored_bytes
FROM run_totals
JOIN fleet USING (run)
LEFT JOIN moved USING (run)
LEFT JOIN hit USING (run)
LEFT JOIN waiting USING (run)
LEFT JOIN paid USING (run)
LEFT JOIN worked USING (run)
ORDER BY run_totals.run;
