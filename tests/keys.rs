//! Keys are rotated under clients that go on calling.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use support::{Stack, eventually, read, rpc, told};

const REPO: &str = "git.example/keys/app";

fn keys(stack: &Stack, args: &[&str]) -> Output {
    stack.coord().arg("keys").args(args).output().unwrap()
}

fn list(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", told(output));
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    listed["keys"].as_array().unwrap().clone()
}

fn status(stack: &Stack, token: &str) -> u16 {
    let call = rpc(&stack.url, token, "version", json!({}), &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(call).0
}

#[test]
fn a_rotation_leaves_no_gap_and_a_dropped_key_is_refused() {
    let stack = Stack::start();
    let old = stack.mint("steady", "test-client", REPO);
    let first = list(&keys(&stack, &["list", "--json"]));
    assert_eq!(first.len(), 1);

    // Somebody calls all the time with a token of the old key.
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let caller = {
        let (stop, calls) = (stop.clone(), calls.clone());
        let (url, token) = (stack.url.clone(), old.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            while !stop.load(Ordering::Relaxed) {
                let call = rpc(&url, &token, "heartbeat", json!({}), &[]);
                let (status, body) = runtime.block_on(call);
                assert_eq!(status, 200, "{body}");
                calls.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    eventually("it calls", || calls.load(Ordering::Relaxed) > 5);
    let agent = stack.home.join("tokens/agent-1.jwt");
    let before = read(&agent);
    for number in 2..=3 {
        let now = list(&keys(&stack, &["rotate", "--grace", "1h", "--json"]));
        assert_eq!(now.len(), number);
        assert_ne!(now[0]["kid"], first[0]["kid"]);
        // What is signed now is good now.
        let new = stack.mint("steady", "test-client", REPO);
        assert_eq!((status(&stack, &new), status(&stack, &old)), (200, 200));
    }
    let so_far = calls.load(Ordering::Relaxed);
    eventually("it still calls", || {
        calls.load(Ordering::Relaxed) > so_far + 5
    });
    stop.store(true, Ordering::Relaxed);
    caller.join().expect("no call failed");
    eventually("the first tokens are of the new key", || {
        read(&agent) != before && status(&stack, &read(&agent)) == 200
    });

    // Refused once its key is dropped; the others go on.
    let kid = first[0]["kid"].as_str().unwrap();
    assert_eq!(list(&keys(&stack, &["drop", kid, "--json"])).len(), 2);
    eventually("the old token is refused", || status(&stack, &old) == 401);
    assert_eq!(status(&stack, &read(&agent)), 200);
    let again = keys(&stack, &["drop", kid]);
    assert_eq!(again.status.code(), Some(2), "{}", told(&again));

    // Without grace it is refused at once.
    let last = stack.mint("steady", "test-client", REPO);
    assert_eq!(
        list(&keys(&stack, &["rotate", "--grace", "0", "--json"])).len(),
        2
    );
    eventually("the token before is refused", || {
        status(&stack, &last) == 401
    });
}
