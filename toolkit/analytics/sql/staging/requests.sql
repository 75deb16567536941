-- What was asked for and what became of it.
-- Grain: one row per entry of the workload, which stands for `size` like requests.
-- Reads: store.requests.
-- Units: nanoseconds since the start of the simulation; tokens of one request.  NULL where an
-- imported trace does not say.  `tenant` is NULL where the workload has none.
-- Definition: `lead` is the first request of the entry's microbatch (itself, where it is alone);
-- spans and waits of a microbatch carry the lead's key.  `replica` decoded it, or took its prompt if
-- that was all; `prompt_replica` took its prompt, in a split deployment of engines.  Each try of a
-- request has a row: `attempt` counts them from 0, `attempt_of` is the first (NULL for itself).  One
-- that its client gave up, at `given_up_ns`, is `cancelled` or `timed_out` and left the machines at
-- `finish_ns`.
-- `cached_tokens` of the prompt were found in a prefix cache as the request was first admitted, and
-- not computed; NULL where there is none.
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
    prompt_replica,
    cached_tokens,
    session,
    turn,
    attempt,
    attempt_of,
    given_up_ns,
    generated_tokens,
    tenant
FROM store.requests;
