//! A service that cannot run here: writes down what it is asked, and answers what a test says.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

/// A status, headers and a body.
pub type Reply = (u16, Vec<(&'static str, String)>, Vec<u8>);

pub fn says(status: u16, body: &Value) -> Reply {
    let kind = ("content-type", "application/json".to_owned());
    (status, vec![kind], body.to_string().into_bytes())
}

pub struct Recorder {
    pub url: String,
    log: PathBuf,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Recorder {
    /// Answers each request by its number and what it says, until the test process ends.
    pub fn start(dir: &Path, answer: impl Fn(usize, &Value) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = dir.join("requests.jsonl");
        let mut file = File::create(&log).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = heard(&stream) else {
                    continue;
                };
                writeln!(file, "{request}").unwrap();
                let mut all = all.lock().unwrap();
                let (status, headers, body) = answer(all.len(), &request);
                all.push(request);
                drop(all);
                let mut head = vec![
                    format!("HTTP/1.1 {status} x"),
                    "connection: close".to_owned(),
                ];
                head.extend(
                    headers
                        .iter()
                        .map(|(name, value)| format!("{name}: {value}")),
                );
                if status != 204 {
                    head.push(format!("content-length: {}", body.len()));
                }
                let head = head.join("\r\n") + "\r\n\r\n";
                // Who asked may be gone.
                let _ = (&stream).write_all(head.as_bytes());
                let _ = (&stream).write_all(&body);
            }
        });
        Self { url, log, seen }
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }
}

fn heard(stream: &TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Map::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.into());
    }
    let size = headers
        .get("content-length")
        .and_then(Value::as_str)
        .map_or(0, |it| it.parse().unwrap());
    let mut raw = vec![0; size];
    reader.read_exact(&mut raw).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query: Map<String, Value> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let body: Value = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    Some(json!({
        "method": method, "path": path, "query": query, "headers": headers, "body": body,
        "raw": String::from_utf8_lossy(&raw), "base64": BASE64_STANDARD.encode(&raw),
    }))
}
