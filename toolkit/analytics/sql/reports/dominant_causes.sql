-- What keeps the stages of a run from working, the largest cause first, each with the figures that
-- say why.
-- Grain: one row per run, role and cause of lost stage time.
-- Reads: role_ledger, cost_uses, run_totals, totals, pipeline_batches, transfer_summary.
-- Units: shares of all stages x makespan, and of the role's; US dollars, NULL where no price is
-- stated; seconds; microbatches.
-- Definition: causes as in time_ledger.  `without_s` is the makespan less the cause's share of the
-- role's time: what the role's stages would need if it went away and nothing else changed, a limit
-- rather than a forecast.  `prefill_s` and `decode_s` are the mean passes through one stage,
-- `mean_in_flight` the mean number of microbatches between the role's stages over the makespan,
-- `cache_s` the mean transfer of a KV cache over one link, `busiest_link_share` how much of the
-- makespan the busiest link carried one.
CREATE OR REPLACE VIEW dominant_causes AS
WITH
    of_all AS (
        SELECT run, sum(dur_s) AS stages_s, sum(dur_s) FILTER (use = 'useful') AS useful_s
        FROM role_ledger
        WHERE kind = 'stage'
        GROUP BY run
    ),
    passes AS (
        SELECT
            run,
            sum(busy_ns) FILTER (name = 'prefill') / nullif(sum(count) FILTER (name = 'prefill'), 0)
                / 1e9 AS prefill_s,
            sum(busy_ns) FILTER (name = 'decode') / nullif(sum(count) FILTER (name = 'decode'), 0)
                / 1e9 AS decode_s
        FROM totals
        WHERE track_kind = 'stage'
        GROUP BY run
    ),
    crowd AS (
        SELECT
            pipeline_batches.run,
            pipeline_batches.role,
            sum(pipeline_batches.until_ns - pipeline_batches.from_ns)
                / any_value(run_totals.makespan_ns) AS mean_in_flight
        FROM pipeline_batches
        JOIN run_totals USING (run)
        GROUP BY pipeline_batches.run, pipeline_batches.role
    ),
    caches AS (
        SELECT run, mean_transfer_s, busiest_link_share
        FROM transfer_summary
        WHERE name = 'kv_transfer'
    )
SELECT
    role_ledger.run,
    row_number() OVER (
        PARTITION BY role_ledger.run
        ORDER BY role_ledger.dur_s DESC, role_ledger.role, role_ledger.cause
    ) AS place,
    role_ledger.role,
    role_ledger.tracks AS stages,
    role_ledger.cause,
    role_ledger.use,
    role_ledger.dur_s / of_all.stages_s AS share,
    role_ledger.share AS role_share,
    coalesce(of_all.useful_s, 0) / of_all.stages_s AS useful_share,
    cost_uses.cost_usd,
    run_totals.price_usd_per_hour * run_totals.makespan_ns / 3.6e12 AS bill_usd,
    run_totals.makespan_ns / 1e9 AS makespan_s,
    run_totals.makespan_ns / 1e9 * (1 - role_ledger.share) AS without_s,
    passes.prefill_s,
    passes.decode_s,
    crowd.mean_in_flight,
    caches.mean_transfer_s AS cache_s,
    caches.busiest_link_share
FROM role_ledger
JOIN of_all ON of_all.run = role_ledger.run
JOIN run_totals ON run_totals.run = role_ledger.run
LEFT JOIN cost_uses
    ON cost_uses.run = role_ledger.run
    AND cost_uses.role = role_ledger.role
    AND cost_uses.cause = role_ledger.cause
LEFT JOIN passes ON passes.run = role_ledger.run
LEFT JOIN crowd ON crowd.run = role_ledger.run AND crowd.role = role_ledger.role
LEFT JOIN caches ON caches.run = role_ledger.run
WHERE role_ledger.kind = 'stage' AND role_ledger.use <> 'useful'
ORDER BY role_ledger.run, place;
