//! A client of the MCP bridge in a dozen lines.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Stack;

/// Longer than any answer takes.
pub const SOON: Duration = Duration::from_secs(15);

/// A bridge to this stack, for its first agent.
pub fn bridge(stack: &Stack) -> Command {
    let mut command = stack.coord();
    command.arg("mcp").env_remove("CLAUDE_CODE_SESSION_ID");
    command.env("COORD_CACHE_DIR", stack.home.join("cache-of-tests"));
    command
}

/// Speaks the protocol line by line, where a test needs what no SDK would do.
pub struct Client {
    pub bridge: Child,
    input: Option<ChildStdin>,
    pub lines: Receiver<Value>,
    pub news: Vec<Value>,
    pub last: u64,
}

impl Client {
    /// Starts the bridge and shakes hands.
    pub fn connect(command: &mut Command) -> Self {
        let mut client = Self::start(command);
        client.hello();
        client
    }

    pub fn start(command: &mut Command) -> Self {
        let mut bridge = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = BufReader::new(bridge.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // Nothing but the protocol may come out of there.
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self {
            input: bridge.stdin.take(),
            bridge,
            lines,
            news: Vec::new(),
            last: 0,
        }
    }

    pub fn hello(&mut self) -> Value {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
                            "clientInfo": {"name": "test", "version": "1"}});
        let hello = self.ask("initialize", &params);
        self.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        hello
    }

    pub fn write(&mut self, message: &Value) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{message}").unwrap();
        input.flush().unwrap();
    }

    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let message = self.lines.recv_timeout(SOON).expect(method);
            if message["id"] == json!(id) {
                return message["result"].clone();
            }
            self.news.push(message);
        }
    }

    pub fn call(&mut self, tool: &str, args: &Value) -> Value {
        self.ask("tools/call", &json!({"name": tool, "arguments": args}))
    }

    pub fn tools(&mut self) -> Vec<String> {
        let listing = self.ask("tools/list", &json!({}));
        let tools = listing["tools"].as_array().unwrap();
        let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
        tools.iter().map(name).collect()
    }

    /// Calls a tool with a progress token, without waiting for the answer.
    pub fn begin(&mut self, tool: &str, args: &Value) -> u64 {
        self.last += 1;
        let id = self.last;
        let params = json!({"name": tool, "_meta": {"progressToken": "line"}, "arguments": args});
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
        id
    }

    /// The answer to what was begun.
    pub fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.lines.recv_timeout(SOON).unwrap();
            if message["id"] == id {
                return message["result"].clone();
            }
            self.news.push(message);
        }
    }

    /// Tells that nobody wants the answer any more.
    pub fn cancel(&mut self, id: u64) {
        let params = json!({"requestId": id, "reason": "changed my mind"});
        self.write(
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}),
        );
    }

    /// Waits for a notification.
    pub fn hear(&mut self, method: &str) -> Value {
        let until = Instant::now() + SOON;
        loop {
            let heard = self.news.iter().position(|news| news["method"] == method);
            if let Some(heard) = heard {
                return self.news.remove(heard);
            }
            let left = until.saturating_duration_since(Instant::now());
            self.news.push(self.lines.recv_timeout(left).expect(method));
        }
    }

    /// Ends the input, as a client does that goes, and waits for the bridge.
    pub fn leave(mut self) {
        drop(self.input.take());
        assert!(self.wait().success());
    }

    pub fn wait(&mut self) -> std::process::ExitStatus {
        let until = Instant::now() + SOON;
        loop {
            if let Some(status) = self.bridge.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the bridge does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.bridge.kill();
        let _ = self.bridge.wait();
    }
}

pub fn text(result: &Value) -> &str {
    assert!(result.get("structuredContent").is_none(), "{result}");
    result["content"][0]["text"].as_str().unwrap()
}
