-- How many requests met every limit of the scenario's [slo].
-- Grain: one row per run that states a limit.  Reads: runs.
-- Definition: no run states limits yet: empty.
CREATE OR REPLACE VIEW good_requests AS
SELECT run, NULL::BIGINT AS good_requests
FROM runs
WHERE false;
