-- Values over time: queue lengths, KV bytes, busy stages, cost so far.
-- Grain: one row per change of a counter; the value holds until its next row.
-- Reads: store.counters, store.counter_defs.
CREATE OR REPLACE VIEW counters AS
SELECT
    sample.run,
    sample.ts_ns,
    sample.counter,
    definition.name,
    definition.unit,
    definition.machine,
    definition.share_key,
    sample.value
FROM store.counters AS sample
LEFT JOIN store.counter_defs AS definition
    ON definition.run = sample.run AND definition.counter = sample.counter;
