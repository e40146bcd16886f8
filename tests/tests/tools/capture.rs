//! The capture on a veth pair with real TCP traffic.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
};

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use gateway_tests::capture::{Capture, Direction, Frame, Point, Recording, State};
use nix::unistd::geteuid;
use pcap_file::pcapng::{Block, PcapNgReader};

use super::{Test, netns::Pair};

/// All of them.
pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_tcp_connection_is_seen_at_both_ends_in_order", both_ends),
    ("checksums_left_to_a_device_are_told", offload),
    ("the_pcapng_file_holds_every_frame", pcapng),
    ("a_point_that_is_not_there_is_named", no_device),
];

/// What is missing to run them here.
pub(crate) fn missing() -> Option<String> {
    (!geteuid().is_root()).then(|| "needs root for network namespaces".to_owned())
}

const MESSAGE: &[u8] = b"a message that is easy to find again";

/// Captures one TCP connection from left to right that carries [`MESSAGE`] and its echo.
fn record(pair: &Pair) -> Result<Recording> {
    let points = [pair.points("left")?, pair.points("right")?].concat();
    let listener = pair.within("right", || Ok(TcpListener::bind("192.0.2.2:7")?))?;
    let capture = Capture::start(&points)?;
    let server = std::thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut message = [0; MESSAGE.len()];
        stream.read_exact(&mut message)?;
        Ok(stream.write_all(&message)?)
    });
    pair.within("left", || {
        let mut stream = TcpStream::connect("192.0.2.2:7")?;
        stream.write_all(MESSAGE)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        ensure!(answer == MESSAGE, "{answer:?}");
        Ok(())
    })?;
    server.join().expect("no panic")?;
    capture.stop()
}

/// Source address, SYN flag and payload of a TCP frame.
fn tcp(frame: &Frame) -> Option<([u8; 4], bool, Vec<u8>)> {
    let packet = SlicedPacket::from_ethernet(&frame.bytes).ok()?;
    match (packet.net?, packet.transport?) {
        (NetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
            Some((ip.header().source(), tcp.syn(), tcp.payload().to_vec()))
        }
        _ => None,
    }
}

fn both_ends() -> Result<()> {
    let pair = Pair::new()?;
    pair.offload(false)?;
    let recording = record(&pair)?;
    ensure!(recording.dropped == 0, "{} dropped", recording.dropped);
    ensure!(
        recording.points.len() == 2,
        "loopback is no point: {:?}",
        recording.points
    );
    let message: Vec<_> = recording
        .frames
        .iter()
        .filter_map(|frame| Some((frame, tcp(frame)?)))
        .filter(|(_, (_, _, payload))| payload == MESSAGE)
        .map(|(frame, (source, ..))| {
            (
                frame.point.to_string(),
                frame.direction,
                source[3],
                frame.state,
            )
        })
        .collect();
    let expected = [
        ("left:wire".to_owned(), Direction::Out, 1, State::Whole),
        ("right:wire".to_owned(), Direction::In, 1, State::Whole),
        ("right:wire".to_owned(), Direction::Out, 2, State::Whole),
        ("left:wire".to_owned(), Direction::In, 2, State::Whole),
    ];
    ensure!(message == expected, "{message:?}");
    let syn = recording
        .frames
        .iter()
        .position(|f| tcp(f).is_some_and(|(_, syn, _)| syn));
    let first = recording.frames.iter().position(|f| tcp(f).is_some());
    ensure!(
        syn.is_some() && syn == first,
        "the handshake comes first: {syn:?}, {first:?}"
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_nanos();
    let last = recording.frames.last().context("frames")?.at_ns;
    ensure!(
        now - u128::from(last) < 60_000_000_000,
        "{last} is not about {now}"
    );
    Ok(())
}

fn offload() -> Result<()> {
    let pair = Pair::new()?;
    pair.offload(true)?;
    let recording = record(&pair)?;
    let states: Vec<_> = recording
        .frames
        .iter()
        .filter(|frame| tcp(frame).is_some_and(|(_, _, payload)| payload == MESSAGE))
        .map(|frame| frame.state)
        .collect();
    ensure!(states == [State::NoChecksum; 4], "{states:?}");
    Ok(())
}

fn pcapng() -> Result<()> {
    let pair = Pair::new()?;
    let recording = record(&pair)?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("order.pcapng");
    recording.write_pcapng(&path)?;
    let mut reader = PcapNgReader::new(File::open(&path)?)?;
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block? {
            packets.push((packet.timestamp.as_nanos(), packet.data.into_owned()));
        }
    }
    let expected: Vec<_> = recording
        .frames
        .iter()
        .map(|f| (u128::from(f.at_ns), f.bytes.clone()))
        .collect();
    ensure!(
        !packets.is_empty() && packets == expected,
        "{} packets read",
        packets.len()
    );
    ensure!(reader.interfaces().len() == 2, "{:?}", reader.interfaces());
    Ok(())
}

fn no_device() -> Result<()> {
    let pair = Pair::new()?;
    let point = Point {
        ns_path: pair.path("left"),
        namespace: "left".to_owned(),
        device: "nowhere".to_owned(),
    };
    let error = Capture::start(&[point])
        .err()
        .context("there is no such device")?;
    ensure!(format!("{error:#}").contains("left:nowhere"), "{error:#}");
    Ok(())
}
