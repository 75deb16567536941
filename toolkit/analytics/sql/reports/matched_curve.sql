-- The distribution of the differences of the same requests in two runs, as a curve.
-- Grain: one row per run that is not its own base, and share, in steps of one percent.
-- Reads: matched_requests.
-- Units: seconds; `share` of the matched requests changed by at most `difference_s`.
CREATE OR REPLACE VIEW matched_curve AS
WITH
    each_request AS (
        SELECT run, unnest(repeat([(e2e_ns - base_e2e_ns) / 1e9], count)) AS difference_s
        FROM matched_requests
        WHERE run <> base_run
    ),
    curves AS (
        SELECT
            run,
            quantile_cont(difference_s, list_transform(range(101), lambda step: step / 100.0)) AS at_s
        FROM each_request
        GROUP BY run
    )
SELECT run, unnest(range(101)) / 100.0 AS share, unnest(at_s) AS difference_s
FROM curves
ORDER BY run, share;
