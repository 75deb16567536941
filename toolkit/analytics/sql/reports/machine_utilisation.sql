-- What each machine did with the makespan: its stages' average.
-- Grain: one row per machine.  Reads: utilisation.
-- Units: shares of the makespan.
CREATE OR REPLACE VIEW machine_utilisation AS
SELECT
    run,
    machine_name,
    role,
    count(*) AS stages,
    avg(utilisation ORDER BY track) AS utilisation,
    avg(bubble_share ORDER BY track) AS bubble_share
FROM utilisation
GROUP BY run, machine_name, role
ORDER BY run, machine_name;
