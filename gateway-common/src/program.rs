//! The programs in the BPF object: entries, and the steps that they go on with.
//!
//! Each comes twice, for VXLAN over IPv4 and over IPv6; an agent loads one set.

/// IP version of the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Underlay {
    /// VXLAN over IPv4.
    V4,
    /// VXLAN over IPv6.
    V6,
}

/// A program by its names in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    v4: &'static str,
    v6: &'static str,
}

impl Program {
    /// For interfaces that face the public network.
    pub const PUBLIC: Self = Self {
        v4: "lingyun_public",
        v6: "lingyun_public_v6",
    };
    /// For interfaces that face the underlay.
    pub const UNDERLAY: Self = Self {
        v4: "lingyun_underlay",
        v6: "lingyun_underlay_v6",
    };
    /// For an interface that is both.
    pub const SINGLE_ARM: Self = Self {
        v4: "lingyun_single",
        v6: "lingyun_single_v6",
    };
    /// For interfaces that face the public network in VLANs.
    pub const PUBLIC_TAGGED: Self = Self {
        v4: "lingyun_public_vlan",
        v6: "lingyun_public_vlan_v6",
    };
    /// For an interface that faces the public network in VLANs and the underlay without.
    pub const SINGLE_ARM_TAGGED: Self = Self {
        v4: "lingyun_single_vlan",
        v6: "lingyun_single_vlan_v6",
    };

    /// The programs that the interfaces of a gateway can have, whose public side is in
    /// VLANs or not.
    pub const fn entries(tagged: bool) -> [Self; 3] {
        match tagged {
            false => [Self::PUBLIC, Self::UNDERLAY, Self::SINGLE_ARM],
            true => [Self::PUBLIC_TAGGED, Self::UNDERLAY, Self::SINGLE_ARM_TAGGED],
        }
    }
    /// Leaves the kernel's time in `CLOCK`, for the agent; no interface has it.
    pub const CLOCK: Self = Self {
        v4: "lingyun_clock",
        v6: "lingyun_clock",
    };

    /// Name in the object.
    pub const fn name(self, underlay: Underlay) -> &'static str {
        match underlay {
            Underlay::V4 => self.v4,
            Underlay::V6 => self.v6,
        }
    }
}

macro_rules! steps {
    ($( $(#[$meta:meta])* $variant:ident $v4:literal $v6:literal ; )*) => {
        /// Where a packet goes on that the entry programs do not finish: what is rare
        /// or long has programs of its own, so that the frequent way stays short. The
        /// discriminant is the program's index in `STEPS`.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Step { $( $(#[$meta])* $variant, )* }

        impl Step {
            /// All of them, in the order of their indices.
            pub const ALL: &'static [Step] = &[ $( Step::$variant, )* ];

            /// Whether the packet came from the public network.
            #[inline(always)]
            pub const fn is_public(self) -> bool {
                matches!(
                    self,
                    Self::PublicFull
                        | Self::PublicGuard
                        | Self::PublicIcmp
                        | Self::PublicRefuse
                        | Self::HandOver
                )
            }

            /// The step's program.
            pub const fn program(self) -> Program {
                match self { $( Step::$variant => Program { v4: $v4, v6: $v6 }, )* }
            }
        }
    };
}

steps! {
    /// From the public network, with everything: fragments, ring slots that changed.
    PublicFull "public_full" "public_full_v6";
    /// The start of a flow from the public network: limits, and the challenge.
    PublicGuard "public_guard" "public_guard_v6";
    /// ICMP from the public network: echo, errors, neighbour discovery.
    PublicIcmp "public_icmp" "public_icmp_v6";
    /// A packet from the public network that cannot go on: its sender is told.
    PublicRefuse "public_refuse" "public_refuse_v6";
    /// From an instance, with everything: fragments, new mappings.
    InsideFull "inside_full" "inside_full_v6";
    /// From an instance to an address inside, or to one of our own public addresses.
    InsideRoute "inside_route" "inside_route_v6";
    /// ICMP from an instance: echo, errors, neighbour discovery.
    InsideIcmp "inside_icmp" "inside_icmp_v6";
    /// A packet from an instance that cannot go on: its sender is told.
    InsideRefuse "inside_refuse" "inside_refuse_v6";
    /// From the public network, for a port that another gateway hands out.
    HandOver "hand_over" "hand_over_v6";
    /// What another gateway got for a port of ours.
    HandedOver "handed_over" "handed_over_v6";
}

/// What a program notes for the step that goes on: one word each.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// The [`Reason`](super::Reason) to refuse a packet for.
    Reason,
    /// Longest IP packet in bytes that would have fitted.
    Mtu,
    /// The VLAN tag that was taken off the frame, as it lay there.
    Tag,
    /// The share that a public port is in.
    Share,
}

impl Note {
    /// Words in the per-CPU record.
    pub const COUNT: usize = 16;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step that does not say so would send a frame of a VLAN without its tag.
    #[test]
    fn steps_know_their_side() {
        for step in Step::ALL {
            let name = step.program().v4;
            let is_public = name.starts_with("public_") || name == "hand_over";
            assert_eq!(step.is_public(), is_public, "{step:?}");
        }
    }
}
