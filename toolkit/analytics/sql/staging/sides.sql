-- Which of the opened runs are one and the same deployment under several seeds: the sides of a
-- comparison.
-- Grain: one row per run.  Reads: store.manifests, runs.
-- Definition: runs are of one side where their scenarios differ in nothing but the seed, names and
-- words; the same scenario with the same seed again is another side, and where everything would
-- be one side, each run is its own.  Sides are numbered from 0 in the order in which they were opened.
-- `base_run` is what a run is compared with: the run of side 0 with its seed, else the first of them.
CREATE OR REPLACE VIEW sides AS
WITH
    stripped AS (
        SELECT
            runs.run,
            runs.ordinal,
            runs.seed,
            coalesce(
                json_merge_patch(
                    manifests.manifest -> '$.scenario',
                    '{
                        "name": null, "title": null, "question": null, "variant": null,
                        "trace": null, "report": null, "replications": null, "capacity": null,
                        "workload": {"seed": null}
                    }'
                )::VARCHAR,
                runs.run::VARCHAR
            ) AS deployment
        FROM runs
        JOIN store.manifests AS manifests USING (run)
    ),
    copies AS (
        SELECT
            *,
            row_number() OVER (PARTITION BY deployment, seed ORDER BY ordinal) AS copy,
            count(*) OVER () AS runs
        FROM stripped
    ),
    grouped AS (
        SELECT
            *,
            min(ordinal) OVER (PARTITION BY deployment, copy) AS first_ordinal,
            count(*) OVER (PARTITION BY deployment, copy) = runs AS all_alike
        FROM copies
    ),
    numbered AS (
        SELECT
            run,
            ordinal,
            seed,
            dense_rank() OVER (ORDER BY CASE WHEN all_alike THEN ordinal ELSE first_ordinal END) - 1
                AS side
        FROM grouped
    ),
    base AS (
        SELECT run, ordinal, seed
        FROM numbered
        WHERE side = 0
    ),
    same_seed AS (
        SELECT seed, min_by(run, ordinal) AS run
        FROM base
        GROUP BY seed
    )
SELECT
    numbered.run,
    numbered.ordinal,
    numbered.seed,
    numbered.side,
    coalesce(same_seed.run, (SELECT min_by(run, ordinal) FROM base)) AS base_run
FROM numbered
LEFT JOIN same_seed ON same_seed.seed IS NOT DISTINCT FROM numbered.seed;
