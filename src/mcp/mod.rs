//! The MCP bridge: a thin door. Tools, resources, prompts and instructions come
//! from the coordinator's `tool_catalog`; calls go to the functions behind them.
//!
//! One handler serves both eras of the protocol: `initialize` with its
//! sessions (2024-11-05 to 2025-11-25) and the stateless 2026-07-28.

mod arguments;
mod caller;
mod calls;
mod catalogue;
mod error;
pub mod http;
mod menu;
mod prompts;
mod repo;
mod resources;
pub mod stdio;
mod subscriptions;
mod upstream;
mod waiting;

pub use error::Error;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, DiscoverResult, GetPromptRequestParams,
    GetPromptResponse, Implementation, InitializeRequestParams, InitializeResult,
    ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    ServerConfig, SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, Peer, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio_util::sync::CancellationToken;

use caller::{Caller, Identity};
use menu::Menu;
use repo::Repo;
use subscriptions::{Listener, Seen, Wanted, Watch};
use upstream::Upstream;
use waiting::Waiter;

use crate::settings::Global;

/// Which tools are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Toolset {
    /// The few that every agent needs
    Core,
    /// All of them
    Full,
}

impl Toolset {
    fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Full => "full",
        }
    }
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the coordinator is, and as whom to call.
    pub global: Global,
    /// Which tools to list.
    pub toolset: Toolset,
    /// How old the catalogue may become.
    pub refresh: Duration,
    /// How long a call may wait in line before it is answered all the same.
    pub patience: Duration,
}

/// Finds the menu for a caller.
type MenuOf = Box<dyn Fn(&Caller) -> Arc<Menu> + Send + Sync>;

/// What all connections of one process share.
struct Bridge {
    upstream: Arc<Upstream>,
    identity: Identity,
    menus: MenuOf,
    repo: Repo,
    seen: Seen,
    refresh: Duration,
    patience: Duration,
    /// Whether anything was locked by git while the coordinator was away.
    by_git: AtomicBool,
    /// No more news: the client has left, or the process is asked to end.
    closing: CancellationToken,
    /// Nothing more at all: calls under way are given up.
    killed: CancellationToken,
}

/// One connection: the shared bridge, and what this client of an era with sessions wants to hear.
struct Connection {
    bridge: Arc<Bridge>,
    wanted: Arc<Wanted>,
    watched: AtomicBool,
    /// Ends the watch with the connection.
    open: CancellationToken,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.cancel();
    }
}

impl Connection {
    fn new(bridge: Arc<Bridge>) -> Self {
        let open = bridge.closing.child_token();
        Self {
            bridge,
            wanted: Arc::default(),
            watched: AtomicBool::new(false),
            open,
        }
    }

    fn caller(&self, context: &RequestContext<RoleServer>) -> Caller {
        let identity = &self.bridge.identity;
        identity.caller(Some(&context.meta), &context.extensions)
    }

    /// What is offered to this caller, read from the coordinator if that can be had soon.
    async fn menu(&self, caller: &Caller) -> Arc<Menu> {
        let menu = (self.bridge.menus)(caller);
        match self.bridge.identity {
            Identity::Single { .. } => menu.settled().await,
            // No loop keeps it fresh: only callers have tokens. The menu keeps the failure.
            Identity::Forwarded => {
                let age = self.bridge.refresh;
                let refresh = menu.refresh(&self.bridge.upstream, caller, age);
                let _ = tokio::time::timeout(menu.patience(), refresh).await;
            }
        }
        menu
    }

    /// The same for a handshake, which needs no more than the instructions of last time.
    async fn instructions(&self, caller: &Caller) -> Option<String> {
        let menu = (self.bridge.menus)(caller);
        if menu.is_known() {
            return menu.instructions();
        }
        self.menu(caller).await.instructions()
    }

    fn watch(&self, menu: Arc<Menu>, caller: Caller, wanted: Arc<Wanted>, to: Listener) -> Watch {
        Watch {
            upstream: self.bridge.upstream.clone(),
            menu,
            caller,
            wanted,
            listener: to,
            refresh: self.bridge.refresh,
        }
    }

    /// Starts telling this connection what changes, once.
    fn start_watch(&self, menu: Arc<Menu>, caller: Caller, peer: Peer<RoleServer>) {
        if !self.watched.swap(true, Ordering::Relaxed) {
            let watch = self.watch(menu, caller, self.wanted.clone(), Listener::Peer(peer));
            tokio::spawn(watch.run(self.open.clone()));
        }
    }
}

impl ServerHandler for Connection {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_prompts_list_changed()
            .build();
        let name = Implementation::new("coord", env!("CARGO_PKG_VERSION"))
            .with_title("Coordinator of coding agents");
        ServerConfig::new(capabilities).with_server_info(name)
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let caller = self.caller(&context);
        context.peer.set_peer_info(request.clone());
        let mut info = self.negotiate_initialize(&request)?;
        info.instructions = self.instructions(&caller).await;
        Ok(info)
    }

    async fn discover(
        &self,
        context: RequestContext<RoleServer>,
    ) -> Result<DiscoverResult, ErrorData> {
        let mut info = self.get_info();
        info.instructions = self.instructions(&self.caller(&context)).await;
        let versions = self.supported_protocol_versions().into_owned();
        Ok(DiscoverResult::from_server_info(versions, info))
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let caller = self.bridge.identity.caller(None, &context.extensions);
        let menu = (self.bridge.menus)(&caller);
        self.start_watch(menu, caller, context.peer);
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let menu = self.menu(&self.caller(&context)).await;
        let tools = menu.current().tools.clone();
        Ok(ListToolsResult::with_all_items(tools))
    }

    /// Asked by the HTTP transport, for headers that mirror arguments; our tools have none.
    fn get_tool(&self, name: &str) -> Option<Tool> {
        let menu = (self.bridge.menus)(&Caller::default());
        menu.current().tool(name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&context);
        let menu = (self.bridge.menus)(&caller);
        let waiter = Waiter::new(&context);
        let args = request.arguments.unwrap_or_default();
        let bridge = &self.bridge;
        // A call that the client gives up goes on: it may have happened already, and its
        // answer, not its interruption, is what the audit knows.
        tokio::select! {
            result = bridge.call(&menu, &caller, &waiter, &request.name, args) => {
                result.map(CallToolResponse::from)
            }
            () = bridge.killed.cancelled() => {
                Err(ErrorData::internal_error("the bridge is ending", None))
            }
        }
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let menu = self.menu(&self.caller(&context)).await;
        let catalogue = menu.current();
        let resources = catalogue.resources.iter().map(|it| it.shown.clone());
        Ok(ListResourcesResult::with_all_items(resources.collect()))
    }

    async fn list_resource_templates(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let menu = self.menu(&self.caller(&context)).await;
        let catalogue = menu.current();
        let templates = catalogue.templates.iter().map(|it| it.shown.clone());
        Ok(ListResourceTemplatesResult::with_all_items(
            templates.collect(),
        ))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let caller = self.caller(&context);
        let menu = self.menu(&caller).await;
        let result = self.bridge.read(&menu, &caller, &request.uri).await?;
        Ok(result.into())
    }

    async fn list_prompts(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let menu = self.menu(&self.caller(&context)).await;
        let catalogue = menu.current();
        let prompts = catalogue.prompts.iter().map(|it| it.shown.clone());
        Ok(ListPromptsResult::with_all_items(prompts.collect()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let caller = self.caller(&context);
        let menu = self.menu(&caller).await;
        let args = request.arguments.unwrap_or_default();
        let result = self.bridge.prompt(&menu, &caller, &request.name, args);
        Ok(result.await?.into())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let caller = self.caller(context.request_context());
        let menu = self.menu(&caller).await;
        let wanted = Arc::new(Wanted::default());
        for uri in context
            .accepted()
            .resource_subscriptions
            .iter()
            .flatten()
            .filter(|uri| menu.current().source(uri).is_some())
        {
            wanted.add(uri, None);
        }
        let to = Listener::Sink(context.sink().clone());
        let watch = self.watch(menu, caller, wanted, to);
        let end = self.open.clone();
        tokio::select! {
            () = context.cancelled() => {}
            () = async {
                watch.begin(&self.bridge.seen).await;
                watch.run(end).await;
            } => {}
        }
        Ok(())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let caller = self.caller(&context);
        let menu = self.menu(&caller).await;
        if menu.current().source(&request.uri).is_none() {
            let text = format!("unknown resource: {}", request.uri);
            return Err(ErrorData::resource_not_found(text, None));
        }
        let upstream = &self.bridge.upstream;
        // What happens after this answer is news. Where it cannot be read now, the first
        // state that can is where the watch begins.
        let state = resources::peek(upstream, &menu, &caller, &request.uri).await;
        self.wanted.add(&request.uri, state.ok().flatten());
        self.start_watch(menu, caller, context.peer);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.wanted.remove(&request.uri);
        Ok(())
    }
}

/// For people who look into what their client keeps of standard error; never standard output.
fn log(message: fmt::Arguments<'_>) {
    anstream::eprintln!("coord mcp: {message}");
}
