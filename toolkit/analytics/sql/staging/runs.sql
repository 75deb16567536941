-- What was simulated or imported, and how the other views read it: the manifest as columns.
-- Grain: one row per run.  Reads: store.manifests.
-- Definition: `study` is the title of the scenario that the run is a variant of; `label` names the run beside others (its variant, else its name); `percentiles` are
-- those the scenario's [report] asks for, `window_s` the stretch of its timeline; `link_model` says
-- which transfers share a link.  Of an imported run, `source` is the kind of file it is from (NULL:
-- simulated), `end_ns` when it ended, and `stated_machines` and `stated_usd_per_hour` are what its
-- rules say it ran on.
CREATE OR REPLACE VIEW runs AS
SELECT
    run,
    ordinal,
    manifest ->> '$.name' AS name,
    coalesce(manifest ->> '$.title', manifest ->> '$.name') AS title,
    coalesce(manifest ->> '$.study', manifest ->> '$.title', manifest ->> '$.name') AS study,
    manifest ->> '$.question' AS question,
    manifest ->> '$.variant' AS variant,
    coalesce(manifest ->> '$.variant', manifest ->> '$.name', run::VARCHAR) AS label,
    coalesce(manifest ->> '$.discipline', 'event') AS discipline,
    manifest ->> '$.source.kind' AS source,
    (manifest ->> '$.end_ns')::BIGINT AS end_ns,
    (manifest ->> '$.facts.machines')::BIGINT AS stated_machines,
    (manifest ->> '$.facts.price_usd_per_hour')::DOUBLE AS stated_usd_per_hour,
    coalesce(manifest ->> '$.level', 'full') AS level,
    manifest ->> '$.scenario.deployment.kind' AS kind,
    coalesce(manifest ->> '$.scenario.deployment.batching', 'microbatch') AS batching,
    coalesce(manifest ->> '$.facts.link_model', 'none') AS link_model,
    (manifest ->> '$.seed')::BIGINT AS seed,
    coalesce(
        (manifest -> '$.scenario.report.percentiles')::DOUBLE[], [50.0, 90.0, 95.0, 99.0]
    ) AS percentiles,
    (manifest -> '$.scenario.report.window_s')::DOUBLE[] AS window_s
FROM store.manifests;
