//! From steps to the frames that a capture would give.

use std::{path::PathBuf, sync::Arc};

use etherparse::PacketBuilder;

use crate::{
    capture::{Direction, Frame, Point, State},
    journey::Headers,
};

/// One form of one packet, and who sees it.
#[derive(Clone)]
pub(super) struct Step {
    /// Name of the link: the hop's letter, numbered when a hop has several.
    pub(super) hop: &'static str,
    pub(super) seen: Vec<(&'static str, Direction)>,
    pub(super) headers: Headers,
    pub(super) sequence: u32,
    pub(super) is_syn: bool,
    pub(super) payload: Vec<u8>,
}

/// The frames of these steps, a few microseconds apart.
pub(super) fn frames(steps: &[Step]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for step in steps {
        for (device, direction) in &step.seen {
            let (namespace, device) = device.split_once(':').expect("namespace:device");
            frames.push(Frame {
                at_ns: 1_700_000_000_000_000_000 + frames.len() as u64 * 7_000,
                point: Arc::new(Point {
                    ns_path: PathBuf::from("/run/netns").join(namespace),
                    namespace: namespace.to_owned(),
                    device: device.to_owned(),
                }),
                direction: *direction,
                bytes: encode(step),
                state: State::Whole,
            });
        }
    }
    frames
}

fn encode(step: &Step) -> Vec<u8> {
    let Headers {
        outer,
        macs,
        source,
        destination,
        ttl,
    } = &step.headers;
    let mut tcp = PacketBuilder::ethernet2(macs.source.0, macs.destination.0)
        .ipv4(source.ip().octets(), destination.ip().octets(), *ttl)
        .tcp(source.port(), destination.port(), step.sequence, 64_000);
    if step.is_syn {
        tcp = tcp.syn();
    }
    let mut frame = Vec::new();
    tcp.write(&mut frame, &step.payload)
        .expect("a Vec takes everything");
    let Some(outer) = outer else { return frame };
    let [_, a, b, c] = outer.vni.to_be_bytes();
    let load = [&[0x08, 0, 0, 0, a, b, c, 0][..], &frame].concat();
    let mut wrapped = Vec::new();
    PacketBuilder::ethernet2(outer.macs.source.0, outer.macs.destination.0)
        .ipv4(outer.source.octets(), outer.destination.octets(), outer.ttl)
        .udp(outer.source_port, 4789)
        .write(&mut wrapped, &load)
        .expect("a Vec takes everything");
    wrapped
}
