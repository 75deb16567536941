-- Which of the opened runs are the same scenario under several seeds, as [replications] asks for.
-- Grain: one row per run that is a replication.  Reads: store.manifests.
-- Definition: runs of one `family` differ in nothing but the seed and the trace level; `number` counts
-- them from 1, which has the scenario's own seed.  Runs of one number have the same seed in every
-- family whose scenarios have the same one: in every variant.
CREATE OR REPLACE VIEW replications AS
SELECT
    run,
    ordinal,
    manifest ->> '$.replication.of' AS family,
    (manifest ->> '$.replication.number')::INTEGER AS number,
    (manifest ->> '$.replication.confidence')::DOUBLE AS confidence
FROM store.manifests
WHERE (manifest -> '$.replication') IS NOT NULL;
