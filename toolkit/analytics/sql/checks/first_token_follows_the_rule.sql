-- The stored first token is the one that the run's discipline defines.
-- Grain: one row per request whose is not.  Reads: requests, first_token.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW first_token_follows_the_rule AS
SELECT
    requests.run,
    requests.request,
    requests.first_token_ns AS stored_ns,
    first_token.first_token_ns AS defined_ns
FROM requests
JOIN first_token USING (run, request)
WHERE requests.first_token_ns IS DISTINCT FROM first_token.first_token_ns;
