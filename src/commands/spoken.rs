//! The coordinator's advice names functions and their arguments, for whoever calls them. Who
//! sits at a terminal types commands and flags: here one becomes the other.

/// What says more than one word, and goes before the words.
const PHRASES: [(&str, &str); 9] = [
    ("coord token mint or register_agent", "`coord token mint`"),
    ("as recall gave it", "as `coord mem recall` gave it"),
    ("Pass repo as", "Pass --repo as"),
    ("the view agents", "`coord agents`"),
    ("the view approvals", "`coord approvals list`"),
    ("the view network_policies", "`coord network export`"),
    ("the view tasks", "`coord work list`"),
    ("the view verification_jobs", "`coord verify status`"),
    ("the view verifications", "`coord verify list`"),
];

/// What to type for a function.
const COMMANDS: [(&str, &str); 69] = [
    ("acquire_lock", "lock acquire"),
    ("apply_config", "apply"),
    ("assign_profile", "call assign_profile"),
    ("authorize", "call authorize"),
    ("cancel_wait", "call cancel_wait"),
    ("cancel_work", "work cancel"),
    ("check_guardrails", "guard check"),
    ("check_locks", "lock list"),
    ("check_network", "network check"),
    ("complete_work", "work done"),
    ("decide_approval", "approvals approve"),
    ("decide_verification", "verify decide"),
    ("disable_agent", "call disable_agent"),
    ("discover_agents", "agents --active"),
    ("drop_audit_before", "audit drop"),
    ("embed_memory", "call embed_memory"),
    ("enable_agent", "call enable_agent"),
    ("enable_embeddings", "call enable_embeddings"),
    ("end_session", "call end_session"),
    ("erase_audit_details", "audit erase"),
    ("explain_guardrails", "guard explain"),
    ("export_memories", "mem export"),
    ("force_release_lock", "lock break"),
    ("forget_memory", "mem forget"),
    ("get_approval", "approvals show"),
    ("get_context", "call get_context"),
    ("get_task", "work show"),
    ("get_work", "work claim"),
    ("import_memories", "mem import"),
    ("learn_procedure", "mem learn"),
    ("link_memory", "call link_memory"),
    ("list_guardrails", "guard list"),
    ("my_profile", "call my_profile"),
    ("network_rules", "network export"),
    ("promote_memory", "mem promote"),
    ("rate_memory", "mem rate"),
    ("read_handoff", "handoff read"),
    ("read_notices", "call read_notices"),
    ("recall_similar", "call recall_similar"),
    ("record_procedure", "mem record"),
    ("register_agent", "token mint"),
    ("release_lock", "lock release"),
    ("remove_profile", "call remove_profile"),
    ("remove_webhook_source", "call remove_webhook_source"),
    ("renew_verification", "call renew_verification"),
    ("renew_work", "call renew_work"),
    ("replay_guardrails", "guard replay"),
    ("report_verification", "call report_verification"),
    ("request_approval", "call request_approval"),
    ("retry_work", "work retry"),
    ("return_work", "work return"),
    ("revoke_token", "token revoke"),
    ("seal_audit", "audit seal"),
    ("set_context", "call set_context"),
    ("set_lock_policy", "call set_lock_policy"),
    ("set_profile", "call set_profile"),
    ("set_webhook_source", "call set_webhook_source"),
    ("start_session", "call start_session"),
    ("submit_changeset", "verify submit"),
    ("submit_graph", "work submit --graph"),
    ("submit_work", "work submit"),
    ("sync_github_issue", "github sync"),
    ("take_verification", "call take_verification"),
    ("test_guardrail_rule", "guard test"),
    ("verification_status", "verify status"),
    ("verify_audit", "audit verify"),
    ("verify_locks", "lock verify"),
    ("work_graph", "work graph"),
    ("write_handoff", "handoff write"),
];

/// The flag of an argument.
const FLAGS: [(&str, &str); 17] = [
    ("agent_type", "type"),
    ("agent_types", "for-type"),
    ("dedup_key", "key"),
    ("delay_seconds", "delay"),
    ("depends_on", "after"),
    ("event_type", "type"),
    ("lease_seconds", "lease"),
    ("max_attempts", "max-attempts"),
    ("max_results", "max"),
    ("max_tasks", "max"),
    ("min_relevance", "min-relevance"),
    ("min_trust", "min-trust"),
    ("on_dependency_failure", "on-dependency-failure"),
    ("task_type", "type"),
    ("ttl_seconds", "ttl"),
    ("valid_until", "until"),
    ("wait_seconds", "wait"),
];

/// The coordinator's advice with what to type instead of what to call.
#[must_use]
pub fn spoken(advice: &str) -> String {
    let mut text = advice.to_owned();
    for (called, typed) in PHRASES {
        text = text.replace(called, typed);
    }
    let mut out = String::with_capacity(text.len());
    let mut before = ["", ""];
    for piece in text.split_inclusive(char::is_whitespace) {
        // A word is what stands alone: in a path, a quote or JSON it is somebody else's.
        let word = piece
            .trim_start_matches('(')
            .trim_end_matches(|c: char| c.is_whitespace() || ".,:;)".contains(c));
        match typed(word).filter(|_| before != ["coord", "call"]) {
            Some(typed) => out.push_str(&piece.replacen(word, &typed, 1)),
            None => out.push_str(piece),
        }
        before = [before[1], word.trim_start_matches('`')];
    }
    out
}

fn typed(word: &str) -> Option<String> {
    let find = |table: &[(&str, &'static str)]| {
        let at = table.binary_search_by_key(&word, |(called, _)| called);
        at.ok().map(|at| table[at].1)
    };
    let command = find(&COMMANDS).map(|command| format!("`coord {command}`"));
    command.or_else(|| find(&FLAGS).map(|flag| format!("--{flag}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    fn has_flag(command: &clap::Command, flag: &str) -> bool {
        let here = command
            .get_arguments()
            .any(|arg| arg.get_long() == Some(flag));
        here || command.get_subcommands().any(|it| has_flag(it, flag))
    }

    #[test]
    fn every_command_and_flag_is_there() {
        let grammar = cli::grammar();
        let phrases = PHRASES.iter().map(|(_, typed)| *typed);
        let phrases = phrases.filter_map(|typed| typed.split('`').nth(1)?.strip_prefix("coord "));
        for command in COMMANDS.iter().map(|(_, typed)| *typed).chain(phrases) {
            let mut at = &grammar;
            for word in command.split(' ') {
                if at.get_name() == "call" {
                    continue;
                }
                if let Some(flag) = word.strip_prefix("--") {
                    assert!(has_flag(at, flag), "{command}");
                    continue;
                }
                at = at.find_subcommand(word).expect(command);
            }
        }
        for (_, flag) in FLAGS {
            assert!(has_flag(&grammar, flag), "{flag}");
        }
        assert!(COMMANDS.is_sorted() && FLAGS.is_sorted());
    }

    #[test]
    fn functions_become_commands_and_arguments_flags() {
        for (called, typed) in [
            (
                "Edit, then release_lock; acquire_lock again extends.",
                "Edit, then `coord lock release`; `coord lock acquire` again extends.",
            ),
            (
                "Ask again, or line up (wait_seconds).",
                "Ask again, or line up (--wait).",
            ),
            (
                "Retry it first (retry_work), or leave it.\nget_work",
                "Retry it first (`coord work retry`), or leave it.\n`coord work claim`",
            ),
            (
                "Check the number; the view tasks lists them.",
                "Check the number; `coord work list` lists them.",
            ),
            (
                "ttl_seconds is between 30 and 28800",
                "--ttl is between 30 and 28800",
            ),
        ] {
            assert_eq!(spoken(called), typed);
        }
    }

    #[test]
    fn what_is_no_advice_stays() {
        for text in [
            "b holds src/get_work.rs for 3 more seconds",
            "disable its agent: `coord call disable_agent`",
            "coord call get_work",
            r#"Pass {"agent_types": [], "min_trust": 1}."#,
            "coord_v1.get_work  and\ttwo blanks ",
            "",
        ] {
            assert_eq!(spoken(text), text);
        }
    }
}
