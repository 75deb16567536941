-- The slices that a flow joins: prompt, transfer and first decode of one request; in an imported
-- trace whatever its arrows join.
-- Grain: one row per slice of a flow.  Reads: store.flows.
-- Definition: `ordinal` counts the track's spans that start at `ts_ns`, from 0.
CREATE OR REPLACE VIEW flows AS
SELECT
    run,
    flow,
    "order",
    track,
    ts_ns,
    ordinal
FROM store.flows;
