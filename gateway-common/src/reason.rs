//! Why a packet's way ended here: one name for every exit that is not "forwarded".

/// What happens to a packet that ends with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The kernel's own stack gets it.
    Passed,
    /// The program sent an answer of its own.
    Answered,
    /// It is gone.
    Dropped,
}

impl Outcome {
    /// Lower-case word for metrics and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Answered => "answered",
            Self::Dropped => "dropped",
        }
    }
}

macro_rules! reasons {
    ($( $outcome:ident $variant:ident $name:literal $text:literal ; )*) => {
        /// One reason per exit. The discriminant is the index of its counter.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $( #[doc = $text] $variant, )* }

        impl Reason {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Reason] = &[ $( Reason::$variant, )* ];

            /// Name in metrics, traces and tables.
            pub const fn name(self) -> &'static str {
                match self { $( Reason::$variant => $name, )* }
            }

            /// What became of the packet.
            #[inline(always)]
            pub const fn outcome(self) -> Outcome {
                match self { $( Reason::$variant => Outcome::$outcome, )* }
            }

            /// One sentence for people.
            pub const fn text(self) -> &'static str {
                match self { $( Reason::$variant => $text, )* }
            }
        }
    };
}

reasons! {
    Passed NotOurs "not_ours" "The destination is not one of the gateway's addresses: the node's own traffic.";
    Passed NotIp "not_ip" "EtherType that the gateway does not handle, ARP for other addresses included.";
    Passed VlanTagged "vlan_tagged" "An 802.1Q tag that is not one of our VLANs, or an 802.1ad tag: left to the kernel.";
    Passed Untagged "untagged" "No VLAN tag where the public side is in VLANs: left to the kernel.";
    Passed L2Multicast "l2_multicast" "Ethernet broadcast or multicast other than an ARP request.";
    Passed NotVxlan "not_vxlan" "Underlay traffic to a VTEP address that is not VXLAN: BGP, BFD, SSH, ICMP.";
    Answered ArpReply "arp_reply" "ARP request for a public address, answered.";
    Answered NeighbourReply "neighbour_reply" "Neighbour solicitation for a public IPv6 address, answered.";
    Answered EchoReply "echo_reply" "ICMP echo request to a VIP, answered.";
    Answered InnerArpReply "inner_arp_reply" "ARP request for a virtual router, answered inside VXLAN.";
    Answered InnerNeighbourReply "inner_neighbour_reply" "Neighbour solicitation for a virtual router, answered inside VXLAN.";
    Answered InnerEchoReply "inner_echo_reply" "ICMP echo request to a virtual router, answered inside VXLAN.";
    Answered SentTooBig "sent_too_big" "The packet does not fit into the next link after the push or pop; its sender was told the MTU.";
    Answered SentTimeExceeded "sent_time_exceeded" "The TTL would reach 0; the sender was told, as traceroute expects.";
    Dropped Truncated "truncated" "The frame, or the first buffer of a jumbo frame, ends inside a header, or its length fields say more than it has.";
    Dropped IpVersion "ip_version" "The IP version does not fit the EtherType.";
    Dropped IpHeaderLength "ip_header_length" "The IPv4 header length is below 20 bytes.";
    Dropped IpOptions "ip_options" "IPv4 options on a packet for one of our addresses.";
    Dropped ExtensionHeader "extension_header" "IPv6 extension headers that are too many, too long, in the wrong place or of a kind that the gateway does not know.";
    Dropped RoutingHeader "routing_header" "An IPv6 routing header with segments left: the destination is not where the packet goes (RFC 5095).";
    Dropped Fragment "fragment" "A fragment that the translation cannot place: ports are in the first one only.";
    Dropped TtlExceeded "ttl_exceeded" "The TTL would reach 0, in a packet that no error may answer: an ICMP error, a later fragment, no single sender.";
    Dropped TtlExceededLimited "ttl_exceeded_limited" "The TTL would reach 0; the sender was not told, since errors are limited (icmp_errors_per_second).";
    Dropped UnderlaySum "underlay_sum" "The underlay wants UDP checksums (underlay_udp_checksum), none inside tells this one, and the packet is too long to be read for it: 2048 bytes or more, or several buffers.";
    Dropped NoService "no_service" "The address is ours, but nothing listens on that protocol and port.";
    Dropped IcmpQuote "icmp_quote" "An ICMP error quotes too little of a packet, or one that cannot be translated: options, extension headers, an ICMP error, a later fragment of a service's.";
    Dropped IcmpMismatch "icmp_mismatch" "An ICMP error quotes a packet that its receiver did not send, or that its sender did not get.";
    Dropped IcmpKind "icmp_kind" "An ICMP message that no gateway translates: redirect, source quench (RFC 6633), errors of unknown types.";
    Dropped NoBackend "no_backend" "The service has no backend that can take the packet.";
    Dropped NoNextHop "no_next_hop" "The next hop's MAC is not known (yet).";
    Dropped TooBig "too_big" "The packet does not fit into the next link after the push or pop, and no error may answer it: an ICMP error, a later fragment, no single sender.";
    Dropped TooBigLimited "too_big_limited" "The packet does not fit into the next link; its sender was not told, since errors are limited (icmp_errors_per_second).";
    Dropped HeadRoom "head_room" "The driver leaves no room in front of the frame for the outer headers.";
    Dropped VxlanFlags "vxlan_flags" "The VXLAN header's I flag is not set, or reserved flags are (RFC 7348, section 5).";
    Dropped UnknownVni "unknown_vni" "No VPC has this VNI.";
    Dropped UnknownSource "unknown_source" "The VPC has no instance with this inner source address.";
    Dropped SpoofedVtep "spoofed_vtep" "The inner source lives on another host than the one that sent the frame.";
    Dropped SpoofedMac "spoofed_mac" "The inner source address does not come from its instance's MAC.";
    Dropped InnerNotForRouter "inner_not_for_router" "The inner frame's destination MAC is not the virtual router's.";
    Dropped InnerNotIp "inner_not_ip" "The inner frame is neither IP nor ARP.";
    Dropped InnerArpOther "inner_arp_other" "ARP inside VXLAN that is not a request for the virtual router.";
    Dropped NeighbourInvalid "neighbour_invalid" "Neighbour discovery for one of our addresses that RFC 4861 tells to discard, or that is no solicitation.";
    Dropped InnerNeighbourOther "inner_neighbour_other" "Neighbour discovery inside VXLAN that is not a solicitation of the virtual router.";
    Dropped NoReverse "no_reverse" "No service, floating IP or route for what the instance sends: a private address never leaves.";
    Dropped InsideRoute "inside_route" "The inner destination lies inside the VPC or one of its peers, and nobody has it.";
    Answered ChallengeSent "challenge_sent" "SYN of an unknown source while the service's challenge is on: answered with a number to return.";
    Dropped ChallengePassed "challenge_passed" "RST with the number of a challenge: the source is known now, and its SYN will pass when it comes again.";
    Dropped DenyListed "deny_listed" "The guard's deny list names the source.";
    Dropped Bogon "bogon" "The source address cannot come from the public network.";
    Dropped OwnSource "own_source" "The source address is one of our own public addresses.";
    Dropped TcpSynFin "tcp_syn_fin" "TCP: SYN together with FIN or RST.";
    Dropped TcpNull "tcp_null" "TCP: none of SYN, ACK, RST and FIN.";
    Dropped TcpXmas "tcp_xmas" "TCP: FIN without ACK.";
    Dropped PortZero "port_zero" "TCP from or to port 0, or UDP to port 0, which nobody has.";
    Dropped RateSource "rate_source" "The source sends more packets than the guard allows a source.";
    Dropped FlowsSource "flows_source" "The source starts more flows than the guard allows a source.";
    Dropped RateService "rate_service" "More packets for the service than its guard allows.";
    Dropped FlowsService "flows_service" "More new flows for the service than its guard allows.";
    Dropped SnatExhausted "snat_exhausted" "Every public port that the new flow could get is in use.";
    Dropped SnatQuota "snat_quota" "The VPC has as many public ports of the pool as it may have.";
    Dropped SnatProtocol "snat_protocol" "The instance shares its public address, and the protocol has neither ports nor an echo identifier.";
    Dropped SnatNoMapping "snat_no_mapping" "No instance has this port of a shared public address, or not any more.";
    Dropped SnatFiltered "snat_filtered" "The pool filters, and the instance has sent nothing to this sender.";
    Dropped SnatNoOwner "snat_no_owner" "No gateway hands out the ports of this share.";
    Dropped HandedOverTwice "handed_over_twice" "Another gateway handed the packet over, but its port is not ours: the gateways do not agree on the shares.";
    Dropped HandedOverByStranger "handed_over_by_stranger" "A packet that was handed over, but not by a gateway of this site.";
    Dropped Internal "internal" "A table held an index that does not exist: a bug in the agent.";
}
