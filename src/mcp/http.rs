//! Streamable HTTP for many clients: each brings its own token, which is
//! forwarded and never kept. The bridge itself has none.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Method, Request, Response, StatusCode, header as names};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::caller::{Caller, Identity, header};
use super::menu::Menu;
use super::repo::Repo;
use super::upstream::Upstream;
use super::{Bridge, Connection, Error, Options, Toolset, log};

/// Where the protocol is served.
const PATH: &str = "/mcp";
/// Agents think and build for hours between two calls, and a client that finds
/// its session gone opens another one that holds none of its locks.
const IDLE: Duration = Duration::from_hours(24);
/// How long open connections may go on after a signal.
const FAREWELL: Duration = Duration::from_secs(3);

type Service = StreamableHttpService<Connection, LocalSessionManager>;
type Reply = Response<BoxBody<Bytes, Infallible>>;

/// Serves until a signal comes.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    options: Options,
    address: SocketAddr,
    allow_hosts: Vec<String>,
) -> Result<(), Error> {
    let listen = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let end = CancellationToken::new();
    let bridge = bridge(options, &end);
    let service = service(bridge.clone(), allow_hosts, &end);
    log(format_args!("serving http://{address}{PATH}"));

    let mut signals = (
        signal(SignalKind::terminate()).map_err(listen)?,
        signal(SignalKind::interrupt()).map_err(listen)?,
    );
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (service, bridge) = (service.clone(), bridge.clone());
                    connections.spawn(connection(stream, service, bridge, end.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to come free.
                    log(format_args!("cannot accept: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = signals.0.recv() => break,
            _ = signals.1.recv() => break,
        }
    }
    end.cancel();
    // Those that do not end by themselves end with the process.
    let _ = tokio::time::timeout(FAREWELL, connections.join_all()).await;
    Ok(())
}

fn bridge(options: Options, end: &CancellationToken) -> Arc<Bridge> {
    let upstream = Arc::new(Upstream::new(options.global, false));
    let menus = Menus::new(upstream.clone(), options.toolset);
    Arc::new(Bridge {
        upstream,
        identity: Identity::Forwarded,
        menus: Box::new(move |caller| menus.of(caller)),
        repo: Repo::new(false),
        seen: super::Seen::default(),
        by_git: std::sync::atomic::AtomicBool::new(false),
        refresh: options.refresh,
        patience: options.patience,
        closing: end.clone(),
        killed: end.clone(),
    })
}

fn service(bridge: Arc<Bridge>, allow_hosts: Vec<String>, end: &CancellationToken) -> Service {
    let mut config = StreamableHttpServerConfig::default()
        .with_json_response(true)
        .with_cancellation_token(end.clone())
        // Agents are no browsers; a page that finds this port gets nothing.
        .enforce_origin_validation();
    config.allowed_hosts.extend(allow_hosts);
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.keep_alive = Some(IDLE);
    let connect = move || Ok(Connection::new(bridge.clone()));
    StreamableHttpService::new(connect, Arc::new(sessions), config)
}

async fn connection(
    stream: TcpStream,
    service: Service,
    bridge: Arc<Bridge>,
    end: CancellationToken,
) {
    // Best effort: without it, small answers wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let (service, bridge) = (service.clone(), bridge.clone());
        async move { Ok::<_, Infallible>(answer(request, service, &bridge).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    // A connection that breaks is its client's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = end.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, service: Service, bridge: &Bridge) -> Reply {
    if request.uri().path() != PATH {
        let text = format!("nothing is here; MCP is at {PATH}");
        return refusal(StatusCode::NOT_FOUND, &text);
    }
    let headers = request.headers();
    let authorization = header(headers, "authorization");
    let Some(authorization) = authorization.filter(|value| is_bearer(value)) else {
        return refusal(
            StatusCode::UNAUTHORIZED,
            "send your own token: `Authorization: Bearer <JWT>`; get one with `coord token mint`",
        );
    };
    let leaves = request.method() == Method::DELETE;
    // A client that names its session by itself also ends it by itself.
    let ends = (leaves && !headers.contains_key("x-session-id"))
        .then(|| header(headers, "mcp-session-id"))
        .flatten();
    let mut reply = service.handle(request).await;
    if !leaves || !reply.status().is_success() {
        return reply;
    }
    // Some clients take "accepted" for a failure to end it.
    *reply.status_mut() = StatusCode::NO_CONTENT;
    if let Some(session) = ends {
        let caller = Caller {
            authorization: Some(authorization),
            session: Some(session),
        };
        let ended = bridge
            .upstream
            .call_once(&caller, "end_session", &Map::new(), FAREWELL)
            .await;
        if let Err(error) = ended {
            log(format_args!("could not end a session: {error}"));
        }
    }
    reply
}

fn is_bearer(value: &str) -> bool {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()
}

fn refusal(status: StatusCode, text: &str) -> Reply {
    let body = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": text}});
    let mut reply = Response::new(Full::new(Bytes::from(body.to_string())).boxed());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    let json = http::HeaderValue::from_static("application/json");
    headers.insert(names::CONTENT_TYPE, json);
    if status == StatusCode::UNAUTHORIZED {
        let bearer = http::HeaderValue::from_static("Bearer realm=\"coord\"");
        headers.insert(names::WWW_AUTHENTICATE, bearer);
    }
    reply
}

/// A menu for each role, as roles may be shown different tools.
struct Menus {
    upstream: Arc<Upstream>,
    toolset: Toolset,
    by_role: RwLock<HashMap<String, Arc<Menu>>>,
}

/// More roles than there are; beyond them, somebody is inventing names.
const ROLES: usize = 16;

impl Menus {
    fn new(upstream: Arc<Upstream>, toolset: Toolset) -> Self {
        Self {
            upstream,
            toolset,
            by_role: RwLock::default(),
        }
    }

    fn of(&self, caller: &Caller) -> Arc<Menu> {
        let role = caller
            .authorization
            .as_deref()
            .and_then(role)
            .unwrap_or_default();
        let known = self.by_role.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(menu) = known.get(&role) {
            return menu.clone();
        }
        drop(known);
        let menu = Arc::new(Menu::open(&self.upstream, self.toolset, &role));
        let mut known = self.by_role.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ROLES {
            return menu;
        }
        known.entry(role).or_insert(menu).clone()
    }
}

/// The role a token claims, unverified: it only chooses which list to show,
/// and the coordinator judges every call.
fn role(authorization: &str) -> Option<String> {
    let payload = authorization.split('.').nth(1)?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    Some(claims.get("role")?.as_str()?.to_owned())
}
