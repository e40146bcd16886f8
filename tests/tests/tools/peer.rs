//! The traffic peer: what it answers, and that its client notices what goes wrong.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use gateway_tests::peer::{connect::Report, serve};
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};

use super::{
    Test, http,
    process::{Process, free_address, output, wait_for},
};

/// All of them.
pub(crate) const TESTS: &[(&str, Test)] = &[
    ("tells_its_name_and_the_client", name),
    ("bytes_and_uploads_carry_their_hash", bytes),
    ("datagrams_come_back_with_the_name", udp),
    ("lines_come_back_on_the_http_port", lines),
    ("two_hundred_connections_are_kept", keeps),
    ("broken_connections_are_noticed", broken),
    ("wrong_answers_are_noticed", wrong),
];

struct Peer {
    address: SocketAddr,
    process: Process,
}

impl Peer {
    fn start() -> Result<Self> {
        let address = free_address()?;
        let text = address.to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
        command.args(["--tcp", &text, "--udp", &text, "--name", "someone"]);
        let process = Process::start(&mut command, Signal::SIGTERM)?;
        wait_for(address)?;
        Ok(Self { address, process })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn name() -> Result<()> {
    let peer = Peer::start()?;
    let (status, answer) = http::request([peer.url("/name")])?;
    ensure!(
        status == 200 && answer["name"] == "someone",
        "{status} {answer}"
    );
    let client: SocketAddr = answer["client"].as_str().context("an address")?.parse()?;
    ensure!(client.ip().is_loopback() && client.port() != 0, "{client}");
    Ok(())
}

fn bytes() -> Result<()> {
    let peer = Peer::start()?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("bytes").display().to_string();
    let headers = output(
        Command::new("curl")
            .args(["-sS", "-D", "-", "-o", &file])
            .arg(peer.url("/bytes/1048576")),
    )?;
    let body = std::fs::read(&file)?;
    let hash = serve::hex(&Sha256::digest(&body));
    ensure!(body.len() == 1 << 20, "{} bytes", body.len());
    ensure!(
        headers.contains(&format!("x-sha256: {hash}")),
        "{hash} is not in {headers}"
    );

    let upload = ["--upload-file".to_owned(), file, peer.url("/upload")];
    let (status, answer) = http::request(upload)?;
    ensure!(
        status == 200 && answer["sha256"] == *hash && answer["length"] == 1 << 20,
        "{answer}"
    );
    Ok(())
}

fn udp() -> Result<()> {
    let peer = Peer::start()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send_to(b"hello", peer.address)?;
    let mut answer = [0; 64];
    let (length, _) = socket.recv_from(&mut answer)?;
    ensure!(
        &answer[..length] == b"someone hello",
        "{:?}",
        &answer[..length]
    );
    Ok(())
}

fn lines() -> Result<()> {
    let peer = Peer::start()?;
    let mut stream = TcpStream::connect(peer.address)?;
    stream.write_all(b"1 one\n2 two\n")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer == "someone 1 one\nsomeone 2 two\n", "{answer}");
    Ok(())
}

/// A running client, past its `ready`.
struct Client {
    process: Process,
    output: BufReader<std::process::ChildStdout>,
}

impl Client {
    fn start(server: SocketAddr, connections: usize) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
        command.args([
            "connect",
            "--line",
            &server.to_string(),
            "--json",
            "--interval-ms",
            "20",
        ]);
        command
            .args(["--connections", &connections.to_string()])
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command, Signal::SIGKILL)?;
        let mut output = BufReader::new(process.child.stdout.take().context("a pipe")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line == "ready\n", "`{line}` instead of ready");
        Ok(Self { process, output })
    }

    fn end(mut self) -> Result<(bool, Report)> {
        self.process.signal(Signal::SIGINT)?;
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        let report = serde_json::from_str(&text).with_context(|| format!("`{text}`"))?;
        Ok((self.process.child.wait()?.success(), report))
    }
}

fn keeps() -> Result<()> {
    let peer = Peer::start()?;
    let client = Client::start(peer.address, 200)?;
    std::thread::sleep(Duration::from_millis(400));
    // A server that stands still for a while must show as silence, not as a break.
    peer.process.signal(Signal::SIGSTOP)?;
    std::thread::sleep(Duration::from_millis(300));
    peer.process.signal(Signal::SIGCONT)?;
    let (success, report) = client.end()?;
    ensure!(success && report.is_clean(), "{report:?}");
    ensure!(
        report.connections == 200 && report.servers["someone"] == 200,
        "{report:?}"
    );
    ensure!(
        report.answers == report.sent && report.answers >= 200 * 10,
        "{report:?}"
    );
    ensure!(
        (280.0..3000.0).contains(&report.longest_silence_ms),
        "{report:?}"
    );
    ensure!(
        report.median_silence_ms <= report.longest_silence_ms,
        "{report:?}"
    );
    Ok(())
}

fn broken() -> Result<()> {
    let peer = Peer::start()?;
    let client = Client::start(peer.address, 20)?;
    drop(peer);
    std::thread::sleep(Duration::from_millis(200));
    let (success, report) = client.end()?;
    ensure!(
        !success && report.broken == 20 && !report.problems.is_empty(),
        "{report:?}"
    );
    Ok(())
}

/// A server that answers the first line rightly, and then twice, out of order, or by
/// another name.
fn wrong() -> Result<()> {
    for (second, wrong) in [
        ("a 0 2\na 0 2\n", 1),
        ("a 0 3\n", 1),
        ("b 0 2\n", 1),
        ("a 0 2\n", 0),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = std::thread::spawn(move || -> std::io::Result<()> {
            let (stream, _) = listener.accept()?;
            let mut lines = BufReader::new(stream.try_clone()?).lines();
            for answer in ["a 0 1\n", second] {
                if lines.next().transpose()?.is_some() {
                    (&stream).write_all(answer.as_bytes())?;
                }
            }
            // Read on until the client goes.
            lines.try_for_each(|line| line.map(drop))
        });
        let client = Client::start(address, 1)?;
        std::thread::sleep(Duration::from_millis(100));
        let (success, report) = client.end()?;
        server.join().expect("no panic")?;
        ensure!(
            report.wrong == wrong && report.broken == 0,
            "{second:?}: {report:?}"
        );
        ensure!(!success && report.unanswered > 0, "{second:?}: {report:?}");
    }
    Ok(())
}
