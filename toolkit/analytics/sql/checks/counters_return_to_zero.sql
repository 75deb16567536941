-- What is taken is given back: counters of KV bytes, queues and work in flight end at 0.
-- Grain: one row per counter that does not.  Reads: counters.
-- Definition: every counter but those that add up (unit usd) ends at 0 once all requests are out.
CREATE OR REPLACE VIEW counters_return_to_zero AS
SELECT
    run,
    counter,
    any_value(name) AS name,
    any_value(unit) AS unit,
    arg_max(value, ts_ns) AS last_value
FROM counters
WHERE lower(unit) <> 'usd'
GROUP BY run, counter
HAVING arg_max(value, ts_ns) <> 0;
