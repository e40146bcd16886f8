//! HTTP: metrics, status and probes, on TCP and on a Unix socket.
//!
//! The Unix socket is reached across network namespaces, by file permissions
//! alone; it is what `lingyun status` talks to. It also keeps a second agent from
//! taking the same node.

mod client;
mod socket;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::Listener,
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinSet, spawn_blocking},
};

pub use client::{Unreachable, get as get_from_socket, post as post_to_socket};
pub use socket::{Socket, default_path, running};

use crate::{metrics, status::Status};

/// What the agent tells about itself when it is asked.
pub trait Source: Send + Sync + 'static {
    /// The node now. Reads every counter from the kernel.
    fn status(&self) -> Result<Status>;

    /// The agent works: the last table update went through.
    fn healthy(&self) -> bool;

    /// Why the node does not carry traffic; empty when it does.
    fn not_ready(&self) -> Vec<String>;

    /// Drains a backend, or no longer. What came of it, for people.
    fn drain(&self, request: &DrainRequest) -> Result<String>;
}

/// `POST /drain`: what `lingyun drain` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrainRequest {
    /// `INSTANCE` or `VPC/INSTANCE`, each with `:PORT` or without.
    pub backend: String,
    /// It takes new flows again.
    pub undo: bool,
    /// Its flows move at once.
    pub now: bool,
}

/// Listens on TCP.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| {
        format!("cannot listen on {address}: choose another address with --listen, or `none`")
    })
}

/// Serves until `stop` becomes true.
pub struct Server {
    tasks: JoinSet<std::io::Result<()>>,
    stop: watch::Sender<bool>,
    routes: Router,
    commands: Router,
}

impl Server {
    /// Serves what `source` tells; nobody listens yet.
    pub fn new<S: Source>(source: Arc<S>) -> Self {
        let routes = Router::new()
            .route("/metrics", get(metrics_text::<S>))
            .route("/status", get(status::<S>))
            .route("/healthz", get(healthz::<S>))
            .route("/readyz", get(readyz::<S>))
            .with_state(Arc::clone(&source));
        let commands = Router::new()
            .route("/drain", post(drain::<S>))
            .with_state(source)
            .merge(routes.clone());
        Self {
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
            routes,
            commands,
        }
    }

    /// Serves on one more listener what anybody may know.
    pub fn serve<L: Listener>(&mut self, listener: L)
    where
        L::Addr: std::fmt::Debug,
    {
        self.listen(listener, self.routes.clone());
    }

    /// Serves on one more listener, commands included: for whoever may open it.
    pub fn serve_commands<L: Listener>(&mut self, listener: L)
    where
        L::Addr: std::fmt::Debug,
    {
        self.listen(listener, self.commands.clone());
    }

    fn listen<L: Listener>(&mut self, listener: L, routes: Router)
    where
        L::Addr: std::fmt::Debug,
    {
        let mut stop = self.stop.subscribe();
        let stopped = async move {
            // An error means that the server is gone, which is a stop too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let server = axum::serve(listener, routes).with_graceful_shutdown(stopped);
        self.tasks.spawn(async move { server.await });
    }

    /// Lets running answers end and stops listening.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // A client that keeps its connection open must not hold the agent.
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(std::time::Duration::from_secs(1), ended)
            .await
            .is_err()
        {
            log::debug!("an HTTP client kept its connection open");
        }
    }
}

async fn metrics_text<S: Source>(State(source): State<Arc<S>>) -> Response {
    match read(source).await {
        Ok(status) => {
            let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
            (kind, metrics::render(status)).into_response()
        }
        Err(response) => response,
    }
}

async fn status<S: Source>(State(source): State<Arc<S>>) -> Response {
    match read(source).await {
        Ok(status) => Json(status).into_response(),
        Err(response) => response,
    }
}

async fn healthz<S: Source>(State(source): State<Arc<S>>) -> Response {
    if source.healthy() {
        "ok\n".into_response()
    } else {
        let text = "the last table update failed; see the agent's log\n";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn readyz<S: Source>(State(source): State<Arc<S>>) -> Response {
    let reasons = source.not_ready();
    if reasons.is_empty() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
    }
}

async fn drain<S: Source>(
    State(source): State<Arc<S>>,
    Json(request): Json<DrainRequest>,
) -> Response {
    let done = spawn_blocking(move || source.drain(&request)).await;
    match done.unwrap_or_else(|error| Err(error.into())) {
        Ok(said) => (said + "\n").into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}\n")).into_response(),
    }
}

/// Reading thousands of per-CPU counters takes milliseconds of system calls: not
/// on a thread that has routes to follow.
async fn read<S: Source>(source: Arc<S>) -> Result<Status, Response> {
    let status = spawn_blocking(move || source.status()).await;
    let status = status.unwrap_or_else(|error| Err(error.into()));
    status.map_err(|error| {
        log::warn!("cannot tell the status: {error:#}");
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response()
    })
}
