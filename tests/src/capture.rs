//! Captures every frame on many devices in many network namespaces at once.
//!
//! AF_PACKET sockets, one a device, read by one thread. All frames carry the same
//! kernel clock, so their order tells what happened first.
//!
//! A frame that a native XDP program sends on is not seen on the gateway's own
//! devices: look at the other end of the wire.

mod pcapng;
mod socket;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
pub(crate) use socket::address;
use socket::{Received, Receiver};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};

/// A device to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// The namespace's file, such as `/run/netns/NAME`.
    pub ns_path: PathBuf,
    /// What people call the namespace: its role, without a lab's prefix.
    pub namespace: String,
    /// Name of the device in the namespace.
    pub device: String,
}

impl Point {
    /// Every device of a namespace but loopback, a device that lies on top of another
    /// one after it.
    pub fn all_in(ns_path: &Path, namespace: &str) -> Result<Vec<Self>> {
        let names = socket::device_names(ns_path)
            .with_context(|| format!("cannot list the devices of namespace {namespace}"))?;
        let point = |device| Self {
            ns_path: ns_path.to_owned(),
            namespace: namespace.to_owned(),
            device,
        };
        Ok(names
            .into_iter()
            .filter(|name| name != "lo")
            .map(point)
            .collect())
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.device)
    }
}

/// Which way a frame passes a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Leaves the node by it.
    Out,
    /// Comes to the node by it.
    In,
}

/// A frame, seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Kernel's time, nanoseconds since 1970.
    pub at_ns: u64,
    /// Where.
    pub point: Arc<Point>,
    /// Which way.
    pub direction: Direction,
    /// The frame, Ethernet header on.
    pub bytes: Vec<u8>,
    /// What the bytes are not as they were on a wire.
    pub state: State,
}

/// Whether a captured frame is what a wire would carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is.
    #[default]
    Whole,
    /// The sender left the layer-4 checksum to a device that does not exist:
    /// offload is on (`ethtool -K DEVICE tx off` turns it off).
    NoChecksum,
    /// Several segments that the kernel joined on arrival (GRO) or has not split yet:
    /// there is no layer-4 checksum for the whole.
    Joined,
}

/// A running capture.
pub struct Capture {
    end: oneshot::Sender<()>,
    thread: JoinHandle<Result<Recording>>,
}

impl Capture {
    /// Starts to capture on all points. Frames from this moment on are seen.
    pub fn start(points: &[Point]) -> Result<Self> {
        let receivers = points
            .iter()
            .map(|point| {
                let receiver = Receiver::open(&point.ns_path, &point.device)
                    .with_context(|| format!("cannot capture on {point}"))?;
                Ok((Arc::new(point.clone()), receiver))
            })
            .collect::<Result<Vec<_>>>()?;
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let thread = thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || runtime.block_on(record(receivers, ended)))?;
        Ok(Self { end, thread })
    }

    /// Ends the capture. Everything that had passed a device is in the recording.
    pub fn stop(self) -> Result<Recording> {
        // The thread listens until it ends, and then its result says why.
        let _ = self.end.send(());
        self.thread
            .join()
            .map_err(|_| anyhow!("the capture thread panicked"))?
    }
}

/// What was captured.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// All points, in the order given.
    pub points: Vec<Arc<Point>>,
    /// All frames in order of time.
    pub frames: Vec<Frame>,
    /// Frames that the kernel had to drop because we were too slow.
    pub dropped: u64,
}

impl Recording {
    /// Writes all of it as a pcapng file with one interface a point.
    pub fn write_pcapng(&self, path: &Path) -> Result<()> {
        pcapng::write(self, path).with_context(|| format!("cannot write {}", path.display()))
    }
}

async fn record(
    receivers: Vec<(Arc<Point>, Receiver)>,
    ended: oneshot::Receiver<()>,
) -> Result<Recording> {
    let points = receivers.iter().map(|(point, _)| point.clone()).collect();
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for (number, (point, receiver)) in receivers.into_iter().enumerate() {
        let following = follow(point, receiver, stopped.clone());
        tasks.spawn(async move {
            let (frames, dropped) = following.await?;
            anyhow::Ok((number, frames, dropped))
        });
    }
    // A sender that is gone also means the end.
    let _ = ended.await;
    let _ = stop.send(true);
    let mut recording = Recording {
        points,
        ..Recording::default()
    };
    let mut of_points = vec![Vec::new(); recording.points.len()];
    while let Some(result) = tasks.join_next().await {
        let (number, frames, dropped) = result??;
        of_points[number] = frames;
        recording.dropped += dropped;
    }
    recording.frames = of_points.into_iter().flatten().collect();
    // Within the same nanosecond, a frame leaves one device before it comes to the
    // next; and a tunnel's device, which shows the time at which the tunnel's load came
    // to the device below, is listed after that.
    recording
        .frames
        .sort_by_key(|frame| (frame.at_ns, frame.direction));
    Ok(recording)
}

/// Reads one device until the end, and then whatever is still waiting.
async fn follow(
    point: Arc<Point>,
    receiver: Receiver,
    mut stopped: watch::Receiver<bool>,
) -> Result<(Vec<Frame>, u64)> {
    let socket = receiver.watch()?;
    let mut frames = Vec::new();
    let mut buffer = socket::buffer();
    loop {
        let ended = tokio::select! {
            ready = socket.readable() => { ready?.clear_ready(); false }
            _ = stopped.changed() => true,
        };
        loop {
            match socket.get_ref().receive(&mut buffer) {
                Ok(Some(received)) => frames.push(frame(&point, received)),
                Ok(None) => break,
                Err(error) => return Err(error.context(format!("cannot read from {point}"))),
            }
        }
        if ended {
            return Ok((frames, socket.get_ref().dropped()?));
        }
    }
}

fn frame(point: &Arc<Point>, received: Received<'_>) -> Frame {
    Frame {
        at_ns: received.at_ns,
        point: point.clone(),
        direction: received.direction,
        bytes: received.bytes.to_vec(),
        state: received.state,
    }
}
