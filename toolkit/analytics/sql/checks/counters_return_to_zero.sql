-- What is taken is given back: counters of KV bytes, queues and work in flight end at 0.
-- Grain: one row per counter that does not.  Reads: counters, runs.
-- Definition: every counter but those that add up (unit usd) and that of blocks whose KV cache
-- stays to be found again ends at 0 once all requests are out.
-- An imported trace may count anything, and end at any time.
CREATE OR REPLACE VIEW counters_return_to_zero AS
SELECT
    run,
    counter,
    any_value(name) AS name,
    any_value(unit) AS unit,
    arg_max(value, ts_ns) AS last_value
FROM counters
SEMI JOIN (SELECT run FROM runs WHERE source IS NULL) AS simulated USING (run)
WHERE lower(unit) <> 'usd' AND name <> 'KV blocks cached'
GROUP BY run, counter
HAVING arg_max(value, ts_ns) <> 0;
