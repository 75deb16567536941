-- How well KV caches hide: their time on the links, before them, and behind compute.
-- Empty below trace level `full`.
-- Grain: one row per run that moved any.  Reads: kv_transfers.
-- Units: bytes; seconds; shares.
-- Definition: as in kv_transfers; `hidden_share` is overlap by link time, `waited` counts transfers
-- whose request waited for the link.
CREATE OR REPLACE VIEW kv_transfer_summary AS
SELECT
    run,
    count(*) AS transfers,
    sum(bytes)::BIGINT AS bytes,
    sum(dur_ns) / 1e9 AS link_s,
    sum(wait_ns) / 1e9 / count(*) AS mean_wait_s,
    max(wait_ns) / 1e9 AS max_wait_s,
    count(*) FILTER (wait_ns > 0) AS waited,
    sum(overlap_ns) / nullif(sum(dur_ns), 0) AS hidden_share
FROM kv_transfers
GROUP BY run;
