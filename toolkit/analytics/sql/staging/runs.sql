-- What was simulated, and how the other views read it: the manifest as columns.
-- Grain: one row per run.  Reads: store.manifests.
-- Definition: `study` is the title of the scenario that the run is a variant of; `label` names the run beside others (its variant, else its name); `percentiles` are
-- those the scenario's [report] asks for, `window_s` the stretch of its timeline; `link_model` says
-- which transfers share a link.
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
