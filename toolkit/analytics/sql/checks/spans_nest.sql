-- A deeper span lies inside a span of the depth above it on its track.
-- Grain: one row per span without such a parent.  Reads: store.spans.
-- Units: nanoseconds.
CREATE OR REPLACE VIEW spans_nest AS
SELECT
    child.run,
    child.track,
    child.ts_ns,
    child.dur_ns,
    child.depth
FROM (SELECT * FROM store.spans WHERE depth > 0) AS child
ANTI JOIN store.spans AS parent
    ON parent.run = child.run
    AND parent.track = child.track
    AND parent.depth = child.depth - 1
    AND parent.ts_ns <= child.ts_ns
    AND parent.ts_ns + parent.dur_ns >= child.ts_ns + child.dur_ns;
