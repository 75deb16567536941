-- The spread of each latency and the percentiles that the scenario asks for, in one pass: the figures
-- of latency_summary and latency_percentiles for many runs at once.
-- Grain: one row per run and metric.  Reads: request_latency, runs.
-- Units: seconds.
-- Definition: as in latency_summary and latency_percentiles.  Where all entries of a run stand for as
-- many requests, a sorted list of entries is enough: the k-th request is in the k // size-th.
-- `percentiles_s` goes with `percentiles`.
CREATE OR REPLACE VIEW latency_spread AS
WITH
    sizes AS (
        SELECT run, min(size) AS least, max(size) AS most
        FROM request_latency
        GROUP BY run
    ),
    samples AS (
        SELECT request_latency.*, sizes.least AS weight
        FROM request_latency
        JOIN sizes USING (run)
        WHERE sizes.least = sizes.most
        UNION ALL
        SELECT request_latency.*, 1 AS weight
        FROM request_latency
        JOIN sizes USING (run)
        CROSS JOIN LATERAL range(request_latency.size) AS alike (number)
        WHERE sizes.least < sizes.most
    ),
    entries AS (
        SELECT
            run,
            any_value(weight) AS weight,
            list(ttft_s) FILTER (ttft_s IS NOT NULL) AS ttft,
            list(tpot_s) FILTER (tpot_s IS NOT NULL) AS tpot,
            list(e2e_s) AS e2e,
            list(queueing_s) FILTER (queueing_s IS NOT NULL) AS queueing,
            list(prefill_s) FILTER (prefill_s IS NOT NULL) AS prefill,
            list(transfer_s) FILTER (transfer_s IS NOT NULL) AS transfer,
            list(decode_wait_s) FILTER (decode_wait_s IS NOT NULL) AS decode_wait,
            list(decode_s) FILTER (decode_s IS NOT NULL) AS decode
        FROM samples
        GROUP BY run
    ),
    per_token AS (
        SELECT run, list(latency_per_token_s) AS latency_per_token
        FROM request_latency
        GROUP BY run
    ),
    sorted AS (
        SELECT
            entries.run,
            metric.metric,
            metric.weight,
            list_sort(metric.values_s) AS values_s,
            len(metric.values_s) * metric.weight AS samples
        FROM entries
        JOIN per_token USING (run)
        CROSS JOIN LATERAL (
            VALUES
                ('ttft', ttft, entries.weight),
                ('tpot', tpot, entries.weight),
                ('e2e', e2e, entries.weight),
                ('queueing', queueing, entries.weight),
                ('prefill', prefill, entries.weight),
                ('transfer', transfer, entries.weight),
                ('decode_wait', decode_wait, entries.weight),
                ('decode', decode, entries.weight),
                ('latency_per_token', latency_per_token, 1)
        ) AS metric (metric, values_s, weight)
        WHERE len(metric.values_s) > 0
    ),
    asked AS (
        SELECT
            sorted.run,
            sorted.metric,
            percentile,
            (samples - 1) * percentile / 100 AS place,
            values_s[floor((samples - 1) * percentile / 100)::BIGINT // weight + 1] AS low_s,
            values_s[
                least(floor((samples - 1) * percentile / 100)::BIGINT + 1, samples - 1)
                    // weight + 1
            ] AS high_s
        FROM sorted
        JOIN runs USING (run)
        CROSS JOIN LATERAL unnest(list_prepend(50.0, runs.percentiles)) AS it (percentile)
    ),
    found AS (
        SELECT
            run,
            metric,
            list(low_s + (high_s - low_s) * (place - floor(place)) ORDER BY percentile)
                AS percentiles_s,
            list(percentile ORDER BY percentile) AS percentiles,
            any_value(low_s + (high_s - low_s) * (place - floor(place))) FILTER (percentile = 50)
                AS median_s
        FROM asked
        GROUP BY run, metric
    )
SELECT
    sorted.run,
    sorted.metric,
    sorted.samples,
    sorted.values_s[1] AS min_s,
    found.median_s,
    list_avg(sorted.values_s) AS mean_s,
    sorted.values_s[-1] AS max_s,
    found.percentiles,
    found.percentiles_s
FROM sorted
JOIN found USING (run, metric)
ORDER BY sorted.run, sorted.metric;
