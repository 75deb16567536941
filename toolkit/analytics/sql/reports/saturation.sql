-- Whether a run keeps up with what arrives: stable, backlogged or overloaded.
-- Grain: one row per run.  Reads: load_halves.
-- Units: per second of the second half of the arrivals' span; seconds; requests; shares of arrivals.
-- Definition: all figures are of the second half of the time in which requests arrive.  `left_behind`
-- is what a quarter of that time adds to those in the system, the mean of the last quarter less that
-- of the one before, and the requests refused in a quarter; `left_behind_share` is its share of a
-- quarter's arrivals, 1 - output / offered where the backlog grows evenly.  overloaded: that share is
-- above 5 %, and `left_behind` above twice the square root of a quarter's arrivals, two standard
-- deviations of a Poisson count.  backlogged: not overloaded, but requests wait longer until a stage takes them
-- up than they are served from there on.  stable: neither.  NULL where it cannot be told, and
-- `unknown_because` why: `not_said` (an imported trace without arrivals or ends), `all_at_once`,
-- `few_requests` (fewer than 40 arrivals in that half), `short_span` (those in the system grow, but
-- not those who wait, and a quarter is shorter than a request is served on average: the system may
-- still be filling up).
CREATE OR REPLACE VIEW saturation AS
WITH
    rates AS (
        SELECT
            *,
            arrived * 2e9 / nullif(span_ns, 0) AS offered_per_s,
            finished * 2e9 / nullif(span_ns, 0) AS output_per_s,
            fourth_in_system - third_in_system + refused / 2 AS left_behind,
            fourth_waiting - third_waiting + refused / 2 AS left_waiting,
            -- What more than so many is more than 5 % and more than chance.
            greatest(arrived / 2 * 0.05, 2 * sqrt(arrived / 2)) AS tolerated
        FROM load_halves
    ),
    judged AS (
        SELECT
            *,
            CASE
                WHEN NOT told THEN 'not_said'
                WHEN span_ns < 4 THEN 'all_at_once'
                WHEN arrived < 40 THEN 'few_requests'
                WHEN
                    left_behind > tolerated
                    AND left_waiting <= tolerated
                    AND span_ns / 4 < mean_service_ns
                    THEN 'short_span'
            END AS unknown_because
        FROM rates
    )
SELECT
    run,
    CASE
        WHEN unknown_because IS NOT NULL THEN NULL
        WHEN left_behind > tolerated THEN 'overloaded'
        WHEN mean_wait_ns > mean_service_ns THEN 'backlogged'
        ELSE 'stable'
    END AS verdict,
    unknown_because,
    offered_per_s,
    output_per_s,
    left_behind,
    left_behind / nullif(arrived / 2, 0) AS left_behind_share,
    mean_wait_ns / 1e9 AS mean_wait_s,
    mean_service_ns / 1e9 AS mean_service_s
FROM judged
ORDER BY run;
