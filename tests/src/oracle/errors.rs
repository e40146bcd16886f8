//! What a gateway tells the sender of a packet that cannot go on: that it is too big for
//! the next link, or that its TTL ran out.

use std::net::IpAddr;

use gateway_common::Reason;

use super::{
    Fate, Oracle, Seen,
    ip::{Own, Packet, octets},
    sums,
    tunnel::Tunnelled,
    wire::{Ethernet, protocol},
};

/// DSCP and ECN of errors: "internetwork control" (RFC 1812, section 4.3.2.5).
const TOS: u8 = 0xc0;

/// Why a packet cannot go on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// It is longer than this.
    TooBig(usize),
    /// Its TTL or hop limit ran out.
    Expired,
}

impl Trouble {
    /// Nobody may be told.
    fn silent(self) -> Reason {
        match self {
            Self::TooBig(_) => Reason::TooBig,
            Self::Expired => Reason::TtlExceeded,
        }
    }

    /// Too many were told already.
    fn limited(self) -> Reason {
        match self {
            Self::TooBig(_) => Reason::TooBigLimited,
            Self::Expired => Reason::TtlExceededLimited,
        }
    }

    /// The sender is told.
    fn told(self) -> Reason {
        match self {
            Self::TooBig(_) => Reason::SentTooBig,
            Self::Expired => Reason::SentTimeExceeded,
        }
    }
}

impl Oracle {
    /// A packet from outside cannot go on. The gateway answers as the interface that
    /// the packet came in by, or else as the address that it was for.
    pub(super) fn refuse_outside(
        &mut self,
        arrival: (u32, Option<u16>),
        mut frame: Ethernet,
        packet: &Packet,
        trouble: Trouble,
        seen: &Seen<'_>,
    ) -> Fate {
        let own = self.site.public_address(arrival, packet.destination);
        let from = own.unwrap_or(packet.destination);
        if let Err(reason) = self.may_tell(packet, trouble, seen) {
            return Fate::Ends(reason);
        }
        std::mem::swap(&mut frame.source, &mut frame.destination);
        frame.body = error(from, packet, trouble).bytes();
        Fate::Answered(trouble.told(), frame.bytes())
    }

    /// A packet of an instance cannot go on. Its virtual router answers.
    pub(super) fn refuse_inside(
        &mut self,
        tunnelled: Tunnelled,
        router: IpAddr,
        packet: &Packet,
        trouble: Trouble,
        seen: &Seen<'_>,
    ) -> Fate {
        if let Err(reason) = self.may_tell(packet, trouble, seen) {
            return Fate::Ends(reason);
        }
        let mut inner = tunnelled.inner.clone();
        std::mem::swap(&mut inner.source, &mut inner.destination);
        inner.body = error(router, packet, trouble).bytes();
        match tunnelled.turn_round_refitted(&inner, TOS) {
            Ok(answer) => Fate::Answered(trouble.told(), answer),
            Err(reason) => Fate::Ends(reason),
        }
    }

    /// Whether the sender may be told, or else why the packet ends. Errors are limited;
    /// how far the limit is reached is the gateway's affair, but as many as may come at
    /// once must be sent.
    fn may_tell(
        &mut self,
        packet: &Packet,
        trouble: Trouble,
        seen: &Seen<'_>,
    ) -> Result<(), Reason> {
        let somebody = is_one_host(packet.source) && is_one_host(packet.destination);
        let about_error = packet.is_icmp_error();
        if packet.is_later_fragment() || about_error || !somebody {
            return Err(trouble.silent());
        }
        let rate = self.site.topology.icmp_errors_per_second;
        let at_once = (rate / 20).max(1);
        let must = self.errors_told < at_once;
        if rate == 0 || !(must || seen.answered) {
            return Err(trouble.limited());
        }
        self.errors_told += 1;
        Ok(())
    }
}

/// The error about a packet, to its sender.
fn error(from: IpAddr, packet: &Packet, trouble: Trouble) -> Packet {
    let (whole, mtu) = (
        packet.bytes(),
        match trouble {
            Trouble::TooBig(mtu) => mtu as u32,
            Trouble::Expired => 0,
        },
    );
    // What makes an error of 576 bytes over IPv4 (RFC 1812, section 4.3.2.3), and of
    // 1280 over IPv6 (RFC 4443, section 2.4).
    let (version, header, quoted, protocol, own) = match packet.own {
        Own::V4 { .. } => (
            4,
            20,
            576 - 28,
            protocol::ICMP,
            Own::V4 {
                header_words: 5,
                id: 0,
                fragment: 0x4000,
                checksum: 0,
            },
        ),
        Own::V6 { .. } => (
            6,
            40,
            1_280 - 48,
            protocol::ICMPV6,
            Own::V6 {
                flow_label: 0,
                fragment: 0,
            },
        ),
    };
    let kind = match (packet.own, trouble) {
        (Own::V4 { .. }, Trouble::TooBig(_)) => [3, 4],
        (Own::V4 { .. }, Trouble::Expired) => [11, 0],
        (Own::V6 { .. }, Trouble::TooBig(_)) => [2, 0],
        (Own::V6 { .. }, Trouble::Expired) => [3, 0],
    };
    let quote = &whole[..packet.length.min(quoted)];
    let message = |checksum: u16| {
        [
            &kind[..],
            &checksum.to_be_bytes(),
            &mtu.to_be_bytes(),
            quote,
        ]
        .concat()
    };
    let pseudo = match packet.own {
        Own::V4 { .. } => Vec::new(),
        Own::V6 { .. } => {
            let length = (message(0).len() as u32).to_be_bytes();
            let next = [0, 0, 0, protocol];
            [
                octets(from),
                octets(packet.source),
                length.to_vec(),
                next.to_vec(),
            ]
            .concat()
        }
    };
    let body = message(sums::right(&[pseudo, message(0)].concat()));
    let mut error = Packet {
        version,
        source: from,
        destination: packet.source,
        tos: TOS,
        ttl: 64,
        protocol,
        next: protocol,
        length: header + body.len(),
        own,
        extensions: Vec::new(),
        body,
    };
    error.seal();
    error
}

/// Whether an ICMP message of this type is an error, which no error may answer (RFC
/// 1122, section 3.2.2; RFC 4443, section 2.4).
pub(super) fn is_error(is_v4: bool, kind: Option<&u8>) -> bool {
    kind.is_some_and(|&kind| match is_v4 {
        true => matches!(kind, 3 | 4 | 5 | 11 | 12),
        false => kind < 128 || kind == 137,
    })
}

/// Whether an address may be one machine's.
fn is_one_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !matches!(address.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(address) => {
            !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
        }
    }
}
