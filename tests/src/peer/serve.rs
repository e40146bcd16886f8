//! The answering side.

use std::{fmt::Write, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    body::Body,
    extract::{ConnectInfo, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::StreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UdpSocket},
    time,
};

use crate::listen::{ClientAddress, Queue};

/// Most bytes that `/bytes/N` gives.
const MOST_BYTES: usize = 64 << 20;
/// Longest wait of `/slow/N`.
const SLOWEST: u64 = 3600;
/// Longest line that comes back.
const LONGEST_LINE: u64 = 4096;

/// Serves HTTP on `address`, and lines too: a connection whose first byte is no
/// capital letter, as every HTTP method has, gets its lines back.
pub async fn tcp(address: SocketAddr, name: Arc<str>) -> Result<()> {
    let listener = bind(address).await?;
    let for_lines = name.clone();
    let queue = Queue::new(listener, move |stream, _| {
        let name = for_lines.clone();
        async move {
            let mut first = [0];
            match stream.peek(&mut first).await {
                Ok(1) if first[0].is_ascii_uppercase() => Some(stream),
                Ok(_) => {
                    echo_lines(stream, &name).await;
                    None
                }
                Err(_) => None,
            }
        }
    })?;
    let service = router(name).into_make_service_with_connect_info::<ClientAddress>();
    axum::serve(queue, service).await.context("HTTP")
}

/// Serves lines on `address`: each comes back with the name and a space before it.
pub async fn lines(address: SocketAddr, name: Arc<str>) -> Result<()> {
    let mut listener = bind(address).await?;
    loop {
        let (stream, _) = axum::serve::Listener::accept(&mut listener).await;
        let _ = stream.set_nodelay(true);
        let name = name.clone();
        tokio::spawn(async move { echo_lines(stream, &name).await });
    }
}

/// Serves datagrams on `address`: each comes back with the name and a space before it.
pub async fn udp(address: SocketAddr, name: Arc<str>) -> Result<()> {
    let socket = UdpSocket::bind(address)
        .await
        .with_context(|| format!("cannot bind UDP {address}"))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        // Errors here are ICMP's word on an earlier answer; the next datagram is fine.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
        if let Err(error) = socket.send_to(&answer, peer).await {
            log::debug!("{peer}: cannot answer {length} bytes: {error}");
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on TCP {address}"))
}

async fn echo_lines(stream: TcpStream, name: &str) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut answer = Vec::new();
    loop {
        answer.clear();
        answer.extend_from_slice(name.as_bytes());
        answer.push(b' ');
        let line = (&mut read)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut answer)
            .await;
        // A line without its end is the rest of a connection that went away.
        if line.is_err() || answer.last() != Some(&b'\n') || write.write_all(&answer).await.is_err()
        {
            return;
        }
    }
}

fn router(name: Arc<str>) -> Router {
    Router::new()
        .route("/name", get(tell_name))
        .route("/bytes/{count}", get(bytes))
        .route("/upload", post(upload).put(upload))
        .route("/slow/{seconds}", get(slow))
        .with_state(name)
}

async fn tell_name(
    State(name): State<Arc<str>>,
    ConnectInfo(ClientAddress(client)): ConnectInfo<ClientAddress>,
) -> Json<serde_json::Value> {
    Json(json!({ "name": *name, "client": client.to_string() }))
}

async fn bytes(Path(count): Path<usize>) -> Response {
    if count > MOST_BYTES {
        return (
            StatusCode::BAD_REQUEST,
            format!("at most {MOST_BYTES} bytes\n"),
        )
            .into_response();
    }
    let body = pseudo_random(count);
    ([("x-sha256", hex(&Sha256::digest(&body)))], body).into_response()
}

async fn upload(body: Body) -> Response {
    let (mut hash, mut length) = (Sha256::new(), 0);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => {
                hash.update(&chunk);
                length += chunk.len();
            }
            Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        }
    }
    Json(json!({ "sha256": hex(&hash.finalize()), "length": length })).into_response()
}

async fn slow(State(name): State<Arc<str>>, Path(seconds): Path<u64>) -> Response {
    if seconds > SLOWEST {
        return (
            StatusCode::BAD_REQUEST,
            format!("at most {SLOWEST} seconds\n"),
        )
            .into_response();
    }
    time::sleep(Duration::from_secs(seconds)).await;
    format!("{name} after {seconds} s\n").into_response()
}

/// The same `count` bytes every time, with no pattern that a middlebox could keep
/// by accident (xorshift64, Marsaglia 2003).
pub fn pseudo_random(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(count).collect()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
