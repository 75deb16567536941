-- The spread of each latency and the percentiles that the scenario asks for, in one pass: the figures
-- of latency_summary and latency_percentiles for many runs at once.
-- Grain: one row per run and metric.  Reads: request_latency, runs,
-- warm_up_requests.
-- Units: seconds.
-- Definition: as in latency_summary and latency_percentiles.  Where all entries of a run stand for as
-- many requests, a sorted list of entries is enough: the k-th request is in the k // size-th.
-- `percentiles_s` goes with `percentiles`.
CREATE OR REPLACE VIEW latency_spread AS
WITH
    counted AS (
        SELECT *
        FROM request_latency
        ANTI JOIN warm_up_requests USING (run, request)
    ),
    mixed AS (
        SELECT run
        FROM counted
        GROUP BY run
        HAVING min(size) < max(size)
    ),
    samples AS (
        SELECT *, size AS weight
        FROM counted
        ANTI JOIN mixed USING (run)
        UNION ALL
        SELECT counted.*, 1
        FROM counted
        SEMI JOIN mixed USING (run)
        CROSS JOIN LATERAL range(counted.size) AS alike (number)
    ),
    lists AS (
        SELECT
            run,
            any_value(weight) AS weight,
            list_sort(list(ttft_s) FILTER (ttft_s IS NOT NULL)) AS ttft,
            list_sort(list(tpot_s) FILTER (tpot_s IS NOT NULL)) AS tpot,
            list_sort(list(e2e_s) FILTER (e2e_s IS NOT NULL)) AS e2e,
            list_sort(list(queueing_s) FILTER (queueing_s IS NOT NULL)) AS queueing,
            list_sort(list(prefill_s) FILTER (prefill_s IS NOT NULL)) AS prefill,
            list_sort(list(transfer_s) FILTER (transfer_s IS NOT NULL)) AS transfer,
            list_sort(list(decode_wait_s) FILTER (decode_wait_s IS NOT NULL)) AS decode_wait,
            list_sort(list(decode_s) FILTER (decode_s IS NOT NULL)) AS decode
        FROM samples
        GROUP BY run
    ),
    per_token AS (
        SELECT
            run,
            list_sort(list(latency_per_token_s) FILTER (latency_per_token_s IS NOT NULL))
                AS latency_per_token
        FROM counted
        GROUP BY run
    ),
    -- One row per metric by unnesting, and places picked out of the list where it stands: joins would
    -- compare and copy the lists.
    unnested AS (
        SELECT
            lists.run,
            list_prepend(50.0, runs.percentiles) AS percentiles,
            unnest([
                {'metric': 'ttft', 'weight': weight, 'values_s': ttft},
                {'metric': 'tpot', 'weight': weight, 'values_s': tpot},
                {'metric': 'e2e', 'weight': weight, 'values_s': e2e},
                {'metric': 'queueing', 'weight': weight, 'values_s': queueing},
                {'metric': 'prefill', 'weight': weight, 'values_s': prefill},
                {'metric': 'transfer', 'weight': weight, 'values_s': transfer},
                {'metric': 'decode_wait', 'weight': weight, 'values_s': decode_wait},
                {'metric': 'decode', 'weight': weight, 'values_s': decode},
                {'metric': 'latency_per_token', 'weight': 1, 'values_s': latency_per_token}
            ]) AS spread
        FROM lists
        JOIN per_token USING (run)
        JOIN runs USING (run)
    ),
    placed AS (
        SELECT
            run,
            spread.metric AS metric,
            spread.weight AS weight,
            spread.values_s AS values_s,
            len(spread.values_s) * spread.weight AS samples,
            percentiles,
            list_transform(
                percentiles, lambda p: (len(spread.values_s) * spread.weight - 1) * p / 100
            ) AS places
        FROM unnested
        WHERE len(spread.values_s) > 0
    ),
    picked AS (
        SELECT
            *,
            list_select(
                values_s, list_transform(places, lambda place: floor(place)::BIGINT // weight + 1)
            ) AS low_s,
            list_select(
                values_s,
                list_transform(
                    places, lambda place: least(floor(place)::BIGINT + 1, samples - 1) // weight + 1
                )
            ) AS high_s
        FROM placed
    ),
    found AS (
        SELECT
            run,
            metric,
            samples,
            values_s[1] AS min_s,
            list_avg(values_s) AS mean_s,
            values_s[-1] AS max_s,
            percentiles,
            list_transform(
                list_zip(low_s, high_s, places),
                lambda it: it[1] + (it[2] - it[1]) * (it[3] - floor(it[3]))
            ) AS percentiles_s
        FROM picked
    )
SELECT
    run,
    metric,
    samples,
    min_s,
    percentiles_s[1] AS median_s,
    mean_s,
    max_s,
    percentiles[2:] AS percentiles,
    percentiles_s[2:] AS percentiles_s
FROM found
ORDER BY run, metric;
