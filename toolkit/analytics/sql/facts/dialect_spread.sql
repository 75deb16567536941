-- The statistics of each tool's samples, percentiles by that tool's own method.
-- Grain: one row per run, tool, metric and statistic: mean, std, min, max and percentiles.
-- Reads: dialect_samples, runs.
-- Units: as in dialect_samples; `samples` adds up weights.
-- Definition: percentiles are 50, 90, 95, 99 and those of [report].  Of N samples in order, counted
-- from 0 (a sample of weight w is w of them): vllm and aiperf interpolate at (N - 1) p / 100 (numpy's
-- default); guidellm takes the least value that at least p % of the weight does not exceed; mlperf
-- takes the sample at floor(N p / 100); dejavu takes vllm's method, its median being the mean of the
-- middle two.  `std` divides by N.  mlperf's mean is cut off to whole nanoseconds.
CREATE OR REPLACE VIEW dialect_spread AS
WITH
    placed AS (
        SELECT
            *,
            sum(weight) OVER (
                PARTITION BY run, dialect, metric ORDER BY value ROWS UNBOUNDED PRECEDING
            )::BIGINT AS upto
        FROM dialect_samples
    ),
    counted AS (
        SELECT
            run,
            dialect,
            metric,
            sum(weight)::BIGINT AS samples,
            sum(value * weight ORDER BY value) / sum(weight) AS mean,
            min(value) AS least,
            max(value) AS most
        FROM placed
        GROUP BY run, dialect, metric
    ),
    spread AS (
        SELECT
            placed.run,
            placed.dialect,
            placed.metric,
            sqrt(
                sum(
                    placed.weight * (placed.value - counted.mean) * (placed.value - counted.mean)
                    ORDER BY placed.value
                ) / any_value(counted.samples)
            ) AS std
        FROM placed
        JOIN counted USING (run, dialect, metric)
        GROUP BY placed.run, placed.dialect, placed.metric
    ),
    asked AS (
        SELECT
            run,
            unnest(list_distinct(list_concat([50.0, 90.0, 95.0, 99.0], percentiles)))
                AS percentile
        FROM runs
    ),
    places AS (
        SELECT
            counted.run,
            counted.dialect,
            counted.metric,
            asked.percentile,
            CASE counted.dialect
                WHEN 'guidellm' THEN greatest(ceil(counted.samples * asked.percentile / 100) - 1, 0)
                WHEN 'mlperf' THEN
                    least(floor(counted.samples * asked.percentile / 100), counted.samples - 1)
                ELSE (counted.samples - 1) * asked.percentile / 100
            END AS place
        FROM counted
        JOIN asked USING (run)
    ),
    found AS (
        SELECT
            places.run,
            places.dialect,
            places.metric,
            places.percentile,
            any_value(places.place) AS place,
            min(placed.value) FILTER (placed.upto > floor(places.place)) AS low,
            min(placed.value) FILTER (placed.upto > ceil(places.place)) AS high
        FROM places
        JOIN placed USING (run, dialect, metric)
        GROUP BY places.run, places.dialect, places.metric, places.percentile
    ),
    listed AS (
        SELECT
            run,
            dialect,
            metric,
            2 + percentile AS rank,
            'p' || format('{:g}', percentile) AS statistic,
            low + (high - low) * (place - floor(place)) AS value
        FROM found
        UNION ALL
        SELECT counted.run, counted.dialect, counted.metric, plain.rank, plain.statistic, plain.value
        FROM counted
        JOIN spread USING (run, dialect, metric)
        CROSS JOIN LATERAL (
            VALUES
                (
                    0,
                    'mean',
                    CASE counted.dialect WHEN 'mlperf' THEN trunc(counted.mean) ELSE counted.mean END
                ),
                (1, 'std', spread.std),
                (1.5, 'min', counted.least),
                (200, 'max', counted.most)
        ) AS plain (rank, statistic, value)
    )
SELECT
    listed.run,
    listed.dialect,
    listed.metric,
    listed.rank,
    listed.statistic,
    listed.value,
    counted.samples
FROM listed
JOIN counted USING (run, dialect, metric);
