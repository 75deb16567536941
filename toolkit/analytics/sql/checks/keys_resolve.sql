-- Every key leads to a row (flows of an imported trace have numbers of their own).
-- Grain: one row per column and key that leads nowhere, with how many rows carry it.
-- Reads: store.spans, store.counters, store.flows, store.waits, store.totals, store.tracks,
-- store.requests, store.names, store.machines, store.counter_defs, runs.
CREATE OR REPLACE VIEW keys_resolve AS
WITH
    used AS (
        SELECT run, 'spans.track' AS "column", 'track' AS target, track AS key, count(*) AS uses
        FROM store.spans GROUP BY run, track
        UNION ALL
        SELECT run, 'spans.name', 'name', name, count(*) FROM store.spans GROUP BY run, name
        UNION ALL
        SELECT run, 'spans.request', 'request', request, count(*)
        FROM store.spans GROUP BY run, request
        UNION ALL
        SELECT run, 'counters.counter', 'counter', counter, count(*)
        FROM store.counters GROUP BY run, counter
        UNION ALL
        SELECT run, 'counter_defs.machine', 'machine', machine, count(*)
        FROM store.counter_defs GROUP BY run, machine
        UNION ALL
        SELECT run, 'flows.flow', 'request', flow, count(*)
        FROM store.flows
        SEMI JOIN (SELECT run FROM runs WHERE source IS NULL) AS simulated USING (run)
        GROUP BY run, flow
        UNION ALL
        SELECT run, 'flows.track', 'track', track, count(*) FROM store.flows GROUP BY run, track
        UNION ALL
        SELECT run, 'waits.request', 'request', request, count(*)
        FROM store.waits GROUP BY run, request
        UNION ALL
        SELECT run, 'waits.cause', 'name', cause, count(*) FROM store.waits GROUP BY run, cause
        UNION ALL
        SELECT run, 'waits.on_request', 'request', on_request, count(*)
        FROM store.waits GROUP BY run, on_request
        UNION ALL
        SELECT run, 'waits.on_track', 'track', on_track, count(*)
        FROM store.waits GROUP BY run, on_track
        UNION ALL
        SELECT run, 'totals.track', 'track', track, count(*) FROM store.totals GROUP BY run, track
        UNION ALL
        SELECT run, 'totals.name', 'name', name, count(*) FROM store.totals GROUP BY run, name
        UNION ALL
        SELECT run, 'tracks.machine', 'machine', machine, count(*)
        FROM store.tracks GROUP BY run, machine
        UNION ALL
        SELECT run, 'requests.lane', 'track', lane, count(*) FROM store.requests GROUP BY run, lane
        UNION ALL
        SELECT run, 'requests.lead', 'request', lead, count(*)
        FROM store.requests GROUP BY run, lead
    ),
    known AS (
        SELECT run, 'track' AS target, track AS key FROM store.tracks
        UNION ALL
        SELECT run, 'name', name FROM store.names
        UNION ALL
        SELECT run, 'request', request FROM store.requests
        UNION ALL
        SELECT run, 'machine', machine FROM store.machines
        UNION ALL
        SELECT run, 'counter', counter FROM store.counter_defs
    )
SELECT used.run, used."column", used.key, used.uses
FROM used
ANTI JOIN known USING (run, target, key)
WHERE used.key IS NOT NULL;
