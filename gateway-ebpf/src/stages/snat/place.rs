//! Where mappings lie: from a public port to its slot, and from an instance's port to
//! the slots that it may have.

use gateway_common::{SNAT_FIRST_PORT, SNAT_SLOTS, SnatAddress, SnatClass, SnatOwner, SnatSetting};

use crate::{hash, packet::Tables};

/// Ports in a bucket, as a power of two.
const SLOTS_SHIFT: u32 = SNAT_SLOTS.trailing_zeros();

/// A slot of `SNAT_PORTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the bucket.
    pub bucket: u32,
    slot: u32,
}

impl Place {
    /// No place.
    pub const NONE: Self = Self {
        bucket: u32::MAX,
        slot: 0,
    };

    /// A slot of a bucket.
    #[inline(always)]
    pub const fn new(bucket: u32, slot: u32) -> Self {
        Self { bucket, slot }
    }

    /// Whether it is no place.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.bucket == u32::MAX
    }

    /// The slot, within bounds by any reader's judgement.
    #[inline(always)]
    pub const fn slot(self) -> usize {
        (self.slot as usize) & (SNAT_SLOTS - 1)
    }
}

/// The share that a port, as it lies in the packet, is in.
#[inline(always)]
pub fn share<T: Tables>(tables: &T, port: u16) -> u32 {
    u16::from_be(port) as u32 >> (tables.snat(SnatSetting::SHARE_SHIFT) & 31)
}

/// The ports of one address and class that this gateway hands out.
#[derive(Clone, Copy)]
pub struct Region<'t> {
    /// The address.
    pub shared: &'t SnatAddress,
    /// The class.
    pub class: SnatClass,
    /// The first bucket, and how many there are.
    first: u32,
    buckets: u32,
}

impl<'t> Region<'t> {
    /// The region of an address and a class.
    #[inline(always)]
    pub fn new<T: Tables>(tables: &T, shared: &'t SnatAddress, class: SnatClass) -> Self {
        let buckets = buckets(tables.snat(SnatSetting::SHARE_SHIFT));
        Self {
            shared,
            class,
            first: shared
                .first
                .wrapping_add(buckets.wrapping_mul(class as u32)),
            buckets,
        }
    }

    /// The next bucket of a probe.
    #[inline(always)]
    pub fn bucket(&self, probe: &mut Probe) -> u32 {
        let usable = self.buckets.wrapping_sub(self.shared.skipped);
        let chosen = hash::slot(probe.next(), usable);
        self.first
            .wrapping_add(self.shared.skipped)
            .wrapping_add(chosen)
    }

    /// The place of a port of this share, as it lies in the packet, if it can be
    /// handed out at all.
    #[inline(always)]
    pub fn find<T: Tables>(&self, tables: &T, port: u16) -> Option<Place> {
        let shift = tables.snat(SnatSetting::SHARE_SHIFT) & 31;
        let port = u16::from_be(port) as u32;
        if port < SNAT_FIRST_PORT {
            return None;
        }
        let offset = port & ((1 << shift) - 1);
        Some(Place::new(
            self.first.wrapping_add(offset >> SLOTS_SHIFT),
            offset,
        ))
    }

    /// The port of a place, as it lies in the packet.
    #[inline(always)]
    pub fn port<T: Tables>(&self, tables: &T, place: Place) -> u16 {
        let shift = tables.snat(SnatSetting::SHARE_SHIFT) & 31;
        let offset = place.bucket.wrapping_sub(self.first) << SLOTS_SHIFT | place.slot() as u32;
        let port = tables.snat(SnatSetting::SHARE) << shift | offset;
        (port as u16).to_be()
    }
}

/// Buckets that a share's ports of one class take.
#[inline(always)]
pub const fn buckets(share_shift: u32) -> u32 {
    (1 << (share_shift & 31)) >> SLOTS_SHIFT
}

/// The buckets in which an instance's port may have its mapping, the likeliest first.
/// They depend on a secret: nobody outside can tell the next port (RFC 6056).
#[derive(Clone, Copy, Debug)]
pub struct Probe(u64);

impl Probe {
    /// Buckets that the frequent way looks into.
    pub const FAST: u32 = 2;
    /// Buckets that there are: of 32 ports at random one is free until a share is
    /// nearly full (at eight tenths all but one time in a thousand). The verifier goes
    /// through each.
    pub const FULL: u32 = 8;

    /// Starts with the first.
    #[inline(always)]
    pub fn new<T: Tables>(tables: &T, owner: SnatOwner, class: SnatClass) -> Self {
        Self(hash::flow(&tables.seed(), owner.0, class as u64))
    }

    #[inline(always)]
    fn next(&mut self) -> u64 {
        // Odd, with well spread bits (L'Ecuyer 1999, table 4, for 64-bit words).
        const STEP: u64 = 0xd134_2543_de82_ef95;
        let now = self.0;
        self.0 = (now ^ now >> 29).wrapping_mul(STEP);
        now
    }
}
