-- What was asked for and what became of it.
-- Grain: one row per entry of the workload, which stands for `size` like requests.
-- Reads: store.requests.
-- Units: nanoseconds since the start of the simulation; tokens of one request.  NULL where an
-- imported trace does not say.
-- Definition: `cached_tokens` of the prompt were found in a prefix cache as the request was first
-- admitted, and not computed; NULL where there is none.  `lead` is the first request of the entry's microbatch (itself, where it is alone);
-- spans and waits of a microbatch carry the lead's key.
CREATE OR REPLACE VIEW requests AS
SELECT
    run,
    request,
    arrival_ns,
    start_ns,
    prefill_end_ns,
    kv_ready_ns,
    first_token_ns,
    decode_start_ns,
    finish_ns,
    prompt_tokens,
    output_tokens,
    size,
    replica,
    lane,
    coalesce(lead, request) AS lead,
    outcome,
    cached_tokens
FROM store.requests;
