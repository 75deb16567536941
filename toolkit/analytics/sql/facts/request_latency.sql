-- How long each request took, as a whole and phase by phase.
-- Grain: one row per served entry; its `size` like requests have the same latencies.
-- Reads: requests, first_token.
-- Units: seconds; NULL where an imported trace does not say when.
-- Definition: ttft from arrival to first token (queueing included); tpot = (finish - first token) /
-- (output tokens - 1), NULL for a single token; e2e from arrival to last token; queueing until the
-- first span on a stage; prefill from there to the prompt's end on its last stage; transfer from
-- there until the KV cache is where it decodes, NULL where it never moves; decode_wait until the
-- first decode pass; decode from there to the last token; latency_per_token = e2e / output tokens
-- (the published simulators' figure).
CREATE OR REPLACE VIEW request_latency AS
SELECT
    requests.run,
    requests.request,
    requests.size,
    requests.prompt_tokens,
    requests.output_tokens,
    requests.arrival_ns / 1e9 AS arrival_s,
    requests.finish_ns / 1e9 AS finish_s,
    (first_token.first_token_ns - requests.arrival_ns) / 1e9 AS ttft_s,
    CASE WHEN requests.output_tokens > 1 THEN
        (requests.finish_ns - first_token.first_token_ns) / 1e9 / (requests.output_tokens - 1)
    END AS tpot_s,
    (requests.finish_ns - requests.arrival_ns) / 1e9 AS e2e_s,
    (requests.start_ns - requests.arrival_ns) / 1e9 AS queueing_s,
    (requests.prefill_end_ns - requests.start_ns) / 1e9 AS prefill_s,
    (requests.kv_ready_ns - requests.prefill_end_ns) / 1e9 AS transfer_s,
    (
        requests.decode_start_ns - coalesce(requests.kv_ready_ns, requests.prefill_end_ns)
    ) / 1e9 AS decode_wait_s,
    (requests.finish_ns - requests.decode_start_ns) / 1e9 AS decode_s,
    (requests.finish_ns - requests.arrival_ns) / 1e9 / nullif(requests.output_tokens, 0)
        AS latency_per_token_s
FROM requests
JOIN first_token USING (run, request);
