-- The tracks (stages, links, request lanes, threads of an imported trace: each does one job at a
-- time) with their machine.
-- Grain: one row per track of a run.  Reads: store.tracks, store.machines.
CREATE OR REPLACE VIEW tracks AS
SELECT
    track.run,
    track.track,
    track.kind,
    track.index,
    track.name,
    track.rank,
    track.machine,
    machine.name AS machine_name,
    machine.role,
    machine.replica,
    machine.stage
FROM store.tracks AS track
LEFT JOIN store.machines AS machine
    ON machine.run = track.run AND machine.machine = track.machine;
