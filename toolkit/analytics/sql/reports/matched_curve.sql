-- The distribution of the differences of the same requests on two sides of a comparison, as a curve.
-- Grain: one row per side but the first (`run` is its first run) and share, in steps of one percent.
-- Reads: sides, matched_requests.
-- Units: seconds; `share` of the matched requests changed by at most `difference_s` end to end.
CREATE OR REPLACE VIEW matched_curve AS
WITH
    firsts AS (
        SELECT side, min_by(run, ordinal) AS run
        FROM sides
        GROUP BY side
    ),
    differences AS (
        SELECT
            sides.side,
            matched_requests.count,
            (matched_requests.e2e_ns - matched_requests.base_e2e_ns) / 1e9 AS difference_s
        FROM matched_requests
        JOIN sides USING (run)
        WHERE sides.side > 0
    ),
    each_request AS (
        SELECT side, unnest(repeat([difference_s], count)) AS difference_s
        FROM differences
    ),
    curves AS (
        SELECT
            side,
            quantile_cont(difference_s, list_transform(range(101), lambda step: step / 100.0))
                AS at_s
        FROM each_request
        GROUP BY side
    )
SELECT
    firsts.run,
    curves.side,
    unnest(range(101)) / 100.0 AS share,
    unnest(curves.at_s) AS difference_s
FROM curves
JOIN firsts USING (side)
ORDER BY curves.side, share;
