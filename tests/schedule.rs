//! Housekeeping on hosted Supabase, where `pg_cron` has to call it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::eventually;
use support::hosted::{Hosted, claims};

#[test]
fn pg_cron_keeps_house_as_the_one_who_migrated() {
    let db = Hosted::start(&["--cron"]);
    // The migrations were applied twice and the job is there once.
    assert_eq!(
        db.psql(
            "postgres",
            "select jobname, schedule, database, username, active, command from cron.job"
        ),
        "coord-maintain|* * * * *|postgres|postgres|t|select coord.maintain(1000)"
    );

    let operator = claims("operator", "coord_operator");
    db.call(
        &operator,
        "test",
        "register_agent('silent', repos => '{git.example/acme/app}')",
    );
    let silent = claims("silent", "coord_agent");
    assert_eq!(
        db.call(&silent, "gone", "acquire_lock('{src/a.rs}')")["outcome"],
        "acquired"
    );
    // It went away and its lease ran out; and no test waits for the next minute.
    db.psql(
        "supabase_admin",
        "update coord.locks set expires_at = now() - interval '2 minutes';
         update coord.sessions set renewed_at = now() - interval '20 minutes';
         select cron.alter_job(jobid, schedule => '@reboot') from cron.job",
    );
    db.restart();
    eventually("a run is recorded as done", || {
        let run = db.psql(
            "postgres",
            "select status, username, return_message from cron.job_run_details",
        );
        assert!(!run.starts_with("failed"), "{run}");
        run.starts_with("succeeded|postgres")
    });
    assert_eq!(
        db.psql(
            "supabase_admin",
            "select s.end_reason, l.release_reason, l.released_at = l.expires_at
             from coord.sessions s join coord.locks l on l.session_id = s.id where s.id = 'gone'"
        ),
        "dead|expired|t"
    );
}
