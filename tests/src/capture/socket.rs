//! One AF_PACKET socket (packet(7)) in another network namespace.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    mem::size_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    errno::Errno,
    libc,
    net::if_::{Interface, if_nameindex, if_nametoindex},
    sched::{CloneFlags, setns},
    sys::socket::{
        ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt,
        sockopt::{RcvBufForce, ReceiveTimestampns},
    },
    sys::time::TimeSpec,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Direction, State};

/// Room for frames that wait to be read, a device. Taken only when needed.
const ROOM: usize = 16 << 20;
/// A frame that the kernel joined can be larger than any on a wire.
const LARGEST: usize = 256 << 10;

// linux/if_packet.h
const PACKET_STATISTICS: libc::c_int = 6;
const PACKET_VNET_HDR: libc::c_int = 15;
const PACKET_OUTGOING: u8 = 4;

// linux/virtio_net.h: struct virtio_net_hdr, that comes before each frame.
const VNET_HEADER: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;

/// A frame in the buffer.
pub(super) struct Received<'b> {
    pub(super) at_ns: u64,
    pub(super) direction: Direction,
    pub(super) state: State,
    pub(super) bytes: &'b [u8],
}

/// Memory for [`Receiver::receive`].
pub(super) fn buffer() -> Vec<u8> {
    vec![0; VNET_HEADER + LARGEST]
}

/// A socket that sees every frame of one device.
pub(super) struct Receiver {
    socket: Socket,
}

impl Receiver {
    /// Opens a socket on `device` in the namespace. It sees frames from now on.
    pub(super) fn open(ns_path: &Path, device: &str) -> Result<Self> {
        within(ns_path, || {
            let index = if_nametoindex(device)
                .with_context(|| format!("no device {device} in {}", ns_path.display()))?;
            // Protocol 0: nothing comes in before the socket is bound to its device.
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, RcvBufForce, &ROOM)?;
            setsockopt(&socket, ReceiveTimestampns, &true)?;
            set_option(&socket, PACKET_VNET_HDR, 1)?;
            socket.bind(&address(index)?)?;
            Ok(Self { socket })
        })
    }

    /// Makes it possible to wait for frames, within a tokio runtime.
    pub(super) fn watch(self) -> Result<AsyncFd<Self>> {
        // SAFETY: the receiver owns its socket, never changes it, and closes it only
        // when it is dropped itself.
        Ok(unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }?)
    }

    /// The next frame, or nothing if none is waiting.
    pub(super) fn receive<'b>(&self, buffer: &'b mut [u8]) -> Result<Option<Received<'b>>> {
        let mut control = nix::cmsg_space!(TimeSpec);
        let (length, at, direction) = loop {
            let mut slices = [IoSliceMut::new(buffer)];
            let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
            let message = match recvmsg::<LinkAddr>(fd, &mut slices, Some(&mut control), flags) {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(None),
                // EINVAL: offload metadata that virtio cannot express; the frame is gone.
                // ENETDOWN: the device went down; its frames before that are still to come.
                Err(Errno::EINTR | Errno::EINVAL | Errno::ENETDOWN) => continue,
                Err(error) => return Err(error.into()),
            };
            let at = message.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
                _ => None,
            });
            let outgoing = message
                .address
                .is_some_and(|from| from.pkttype() == PACKET_OUTGOING);
            let direction = if outgoing {
                Direction::Out
            } else {
                Direction::In
            };
            break (message.bytes, at, direction);
        };
        let at = at.context("the kernel gave a frame without its time")?;
        let (header, bytes) = buffer[..length]
            .split_at_checked(VNET_HEADER)
            .context("the kernel gave a frame without its virtio header")?;
        let state = match (header[0] & NEEDS_CHECKSUM, header[1]) {
            (_, segmentation) if segmentation != 0 => State::Joined,
            (NEEDS_CHECKSUM, _) => State::NoChecksum,
            _ => State::Whole,
        };
        let at_ns = u64::try_from(at.as_nanos())?;
        Ok(Some(Received {
            at_ns,
            direction,
            state,
            bytes,
        }))
    }

    /// Frames lost since the last call because [`ROOM`] was full.
    pub(super) fn dropped(&self) -> Result<u64> {
        let mut counts = [0_u32; 2];
        let mut length = size_of_val(&counts) as libc::socklen_t;
        // SAFETY: `counts` is a struct tpacket_stats (packets, drops) and `length` says
        // how large it is; the kernel writes no more.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_STATISTICS,
                counts.as_mut_ptr().cast(),
                &mut length,
            )
        };
        Errno::result(result)?;
        Ok(counts[1].into())
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Names of all devices in a namespace, in the order in which they were made.
pub(super) fn device_names(ns_path: &Path) -> Result<Vec<String>> {
    within(ns_path, || {
        let devices = if_nameindex()?;
        let mut devices: Vec<_> = devices.iter().collect();
        devices.sort_by_key(|device| device.index());
        let name = |device: &&Interface| device.name().to_string_lossy().into_owned();
        Ok(devices.iter().map(name).collect())
    })
}

/// Runs `work` in a thread of the namespace: a socket stays in the namespace that it
/// was made in.
fn within<T: Send>(ns_path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = File::open(ns_path)
        .with_context(|| format!("cannot open the namespace {}", ns_path.display()))?;
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter {} (not root?)", ns_path.display()))?;
            work()
        });
        inside
            .join()
            .map_err(|_| anyhow!("a thread in {} panicked", ns_path.display()))?
    })
}

fn set_option(socket: &Socket, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is an int, as these options take, and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// All protocols of the device with this index.
pub(crate) fn address(index: u32) -> Result<SockAddr> {
    let index = i32::try_from(index)?;
    // SAFETY: the storage is zeroed, and large and aligned enough for every kind of
    // address; the length is that of the kind written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = &mut *storage.cast::<libc::sockaddr_ll>();
            link.sll_family = libc::AF_PACKET as u16;
            link.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            link.sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}
