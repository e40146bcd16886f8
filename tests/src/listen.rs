//! What the small servers share: a listener that prepares connections side by side,
//! and the signals that end them.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Connections that may wait for axum once they are prepared.
const BACKLOG: usize = 64;

/// A listener for axum whose connections are prepared (a TLS handshake, a look at
/// the first byte) in tasks of their own.
pub struct Queue<Io> {
    ready: mpsc::Receiver<(Io, SocketAddr)>,
    address: SocketAddr,
}

impl<Io: Send + 'static> Queue<Io> {
    /// Starts to accept on `listener`. `prepare` makes of a connection what axum
    /// shall serve, or deals with it itself and returns nothing.
    pub fn new<F, P>(mut listener: TcpListener, prepare: F) -> Result<Self>
    where
        F: Fn(TcpStream, SocketAddr) -> P + Send + Sync + 'static,
        P: Future<Output = Option<Io>> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(BACKLOG);
        let prepare = Arc::new(prepare);
        tokio::spawn(async move {
            loop {
                // axum's accept waits and tries again when file descriptors run out.
                let (stream, peer) = Listener::accept(&mut listener).await;
                // Without it small answers wait for acknowledgments.
                let _ = stream.set_nodelay(true);
                let (prepared, sender) = (prepare(stream, peer), sender.clone());
                tokio::spawn(async move {
                    if let Some(stream) = prepared.await {
                        // Fails only when the server has ended.
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Ok(Self { ready, address })
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> Listener for Queue<Io> {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Io, SocketAddr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// The client's address as the server sees it, for axum's `ConnectInfo`.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub SocketAddr);

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connected<IncomingStream<'_, Queue<Io>>>
    for ClientAddress
{
    fn connect_info(stream: IncomingStream<'_, Queue<Io>>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Resolves on SIGINT or SIGTERM. The signals are caught from the call on.
pub fn until_told_to_end() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
