//! What the RFCs on address translation ask for, and what of it holds.
//! `docs/nat-conformance.md` is written from here and from what conversations say they
//! show.

use std::fmt::{self, Write};

/// Whether a requirement is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Yes, and conversations show it.
    Yes,
    /// Yes, in a manner that a sentence explains; conversations may show it.
    As(&'static str),
    /// Not all of it.
    Partly(&'static str),
    /// No.
    No(&'static str),
    /// It asks nothing of a gateway like this one.
    Moot(&'static str),
}

use Kept::{As, Moot, No, Partly, Yes};

/// A requirement: its name there, what it asks for in our words, and whether it is kept.
type Clause = (&'static str, &'static str, Kept);

const NO_FRAGMENTS: &str = "fragments to and from a shared address are dropped (`fragment`)";
const RFC_4787: &[Clause] = &[
    (
        "REQ-1",
        "an instance's port has one public port, whatever it talks to",
        Yes,
    ),
    (
        "REQ-2",
        "all ports of an instance appear behind one address",
        Yes,
    ),
    (
        "REQ-3",
        "two ports never share a public one; well-known ones are kept for themselves",
        Yes,
    ),
    (
        "REQ-4",
        "odd ports stay odd, even ones even",
        As("while there is a free one among 16; then the other parity is taken rather than none"),
    ),
    (
        "REQ-5",
        "UDP mappings live for two minutes or more, five by default",
        Yes,
    ),
    (
        "REQ-6",
        "outbound packets keep a mapping alive; inbound ones may",
        Yes,
    ),
    (
        "REQ-7",
        "private addresses that lie outside as well",
        As("VNIs keep tenants apart; `check` refuses public addresses inside a VPC's ranges"),
    ),
    (
        "REQ-8",
        "anybody may answer, or only addresses that were sent to: by configuration",
        Yes,
    ),
    (
        "REQ-9",
        "instances reach each other by their public ports",
        As("at once, or by the gateway whose port it is"),
    ),
    ("REQ-10", "no meddling with payloads", As("there is none")),
    (
        "REQ-11",
        "the behaviour never changes by itself",
        As("but for the parity, see REQ-4"),
    ),
    ("REQ-12", "no ICMP message ends a mapping", Yes),
    (
        "REQ-13",
        "what is too big is answered",
        As("as for any packet, see [errors-and-sizes.md](errors-and-sizes.md)"),
    ),
    ("REQ-14", "fragments, in any order", No(NO_FRAGMENTS)),
];

const RFC_5382: &[Clause] = &[
    (
        "REQ-1",
        "an instance's port has one public port, whatever it talks to",
        Yes,
    ),
    (
        "REQ-2",
        "every valid sequence of packets, simultaneous opens included",
        Yes,
    ),
    (
        "REQ-3",
        "anybody may connect, or only addresses that were sent to",
        Yes,
    ),
    (
        "REQ-4",
        "no answer to a SYN that nobody asked for, for six seconds; then an error",
        Partly("it is dropped silently, for good"),
    ),
    (
        "REQ-5",
        "2 h 4 min once established, 4 min before and after",
        Yes,
    ),
    ("REQ-6", "no meddling with payloads", As("there is none")),
    ("REQ-7", "two ports never share a public one", Yes),
    (
        "REQ-8",
        "instances reach each other by their public ports",
        As("at once, or by the gateway whose port it is"),
    ),
    ("REQ-9", "destination unreachable is translated", Yes),
    ("REQ-10", "no ICMP message ends a connection", Yes),
];

const RFC_5508: &[Clause] = &[
    (
        "REQ-1",
        "echo goes out and comes back, one identifier whatever it talks to",
        Yes,
    ),
    ("REQ-2", "echo mappings live for a minute or more", Yes),
    (
        "REQ-3",
        "errors with wrong checksums are dropped",
        Partly(
            "checksums are changed by what the translation adds: a wrong one is still wrong \
         where it arrives",
        ),
    ),
    (
        "REQ-4",
        "errors from outside are translated, embedded packet included",
        As("on any gateway: they are handed over as the packets are that they speak of"),
    ),
    (
        "REQ-5",
        "errors from instances likewise",
        Partly(
            "on the gateway that has the mapping: another one cannot know the public port that \
         the error must quote, and drops it (`snat_no_mapping`)",
        ),
    ),
    ("REQ-6", "errors neither refresh nor end a mapping", Yes),
    (
        "REQ-7",
        "echo and errors between two instances",
        As("errors go by the border router, which must send them back"),
    ),
    (
        "REQ-8",
        "the sender is told when there is no port left",
        No("the packet is dropped by name"),
    ),
    ("REQ-9", "errors can be switched off", Moot("a MAY")),
    (
        "REQ-10",
        "which messages a translator handles",
        Partly("echo alone; timestamp and the like are dropped (`snat_protocol`)"),
    ),
    (
        "REQ-11",
        "other messages may be dropped",
        As("they are (`snat_protocol`)"),
    ),
];

const RFC_7857: &[Clause] = &[
    (
        "2",
        "TCP's states are followed",
        As("per mapping, which may carry several connections: the longest need counts"),
    ),
    (
        "2.1",
        "4 min while a connection opens or closes, both configurable",
        Partly("one timeout for both"),
    ),
    ("2.2", "a reset is passed on and leaves 4 minutes", Yes),
    (
        "3",
        "ports may overlap towards different destinations",
        Moot("a MAY"),
    ),
    (
        "4",
        "all ports of an instance appear behind one address",
        Yes,
    ),
    ("5", "each protocol has mappings of its own", Yes),
    ("6", "each protocol has filters of its own", Yes),
    (
        "7",
        "inbound packets refresh a mapping by configuration only; dropped ones never do",
        Partly("UDP and echo: yes. Established TCP is kept alive from both sides"),
    ),
    (
        "8",
        "parity need not be kept for TCP",
        Moot("it is, see RFC 4787 REQ-4"),
    ),
    ("9", "ports are hard to guess", Yes),
    (
        "10",
        "identifications are unique",
        No("the instance's is kept; without fragments it matters to nobody (RFC 6864)"),
    ),
    (
        "11",
        "mappings of echo may go with their last session",
        Moot("a MAY"),
    ),
    (
        "12",
        "hairpins for errors",
        As("by the border router, which must send them back"),
    ),
];

const RFC_6888: &[Clause] = &[
    (
        "REQ-1",
        "each protocol's own requirements",
        As("the tables above"),
    ),
    (
        "REQ-2",
        "all ports of a subscriber appear behind one address",
        As("per instance; a VPC has as many addresses as its pool"),
    ),
    (
        "REQ-3",
        "any public addresses, in a row or not",
        As("a pool is a list"),
    ),
    (
        "REQ-4",
        "a limit of ports for each subscriber",
        As("each VPC is one"),
    ),
    (
        "REQ-5",
        "a limit of memory for each subscriber",
        As(
            "a mapping is a slot of 16 bytes in a table of fixed size, so the limit of ports is one \
         of memory; what filters remember is shared by all",
        ),
    ),
    (
        "REQ-6",
        "no translation for some destinations",
        No("floating IPs and services alone are \
        exempt"),
    ),
    ("REQ-7", "anybody may answer", As("by default")),
    (
        "REQ-8",
        "a port rests for two minutes before another mapping gets it",
        Yes,
    ),
    (
        "REQ-9",
        "a protocol by which subscribers ask for ports (PCP)",
        No("there is none"),
    ),
    (
        "REQ-10",
        "it can be managed",
        As("metrics and `lingyun status`, no MIB"),
    ),
    (
        "REQ-11",
        "what finds no port is dropped and the sender is told; no mapping is taken from \
        somebody",
        Partly("it is dropped and counted by tenant; nobody is told"),
    ),
    (
        "REQ-12",
        "destinations are not logged",
        As("nothing is logged per connection"),
    ),
    ("REQ-13", "all ports can be used", Yes),
    (
        "REQ-14",
        "little is logged",
        As("nothing is logged per connection, so who had a port at \
        what time cannot be told afterwards"),
    ),
    ("REQ-15", "ports are hard to guess", Yes),
];

/// All of them.
const RFCS: [(&str, &str, &[Clause]); 5] = [
    ("RFC 4787", "UDP", RFC_4787),
    ("RFC 5382", "TCP", RFC_5382),
    ("RFC 5508", "ICMP", RFC_5508),
    (
        "RFC 7857",
        "updates to the three above, by section",
        RFC_7857,
    ),
    ("RFC 6888", "address translation of carriers", RFC_6888),
];

/// Where conversations are.
const FOLDER: &str = "../tests/src/conversation";

/// The page `docs/nat-conformance.md`.
pub fn page() -> Result<String, fmt::Error> {
    let mut page = String::from(HEAD);
    for (rfc, what, clauses) in RFCS {
        let number = rfc.trim_start_matches("RFC ");
        write!(
            page,
            "\n## [{rfc}](https://www.rfc-editor.org/rfc/rfc{number}): {what}\n\n"
        )?;
        writeln!(page, "| | Asks that | Kept | Shown by |\n|---|---|---|---|")?;
        for (name, asks, kept) in clauses {
            let kept = match kept {
                Yes => "yes".to_owned(),
                As(how) => format!("yes: {how}"),
                Partly(how) => format!("**partly**: {how}"),
                No(why) => format!("**no**: {why}"),
                Moot(why) => format!("-: {why}"),
            };
            let shown: Vec<_> = showing(rfc, name).collect();
            writeln!(page, "| {name} | {asks} | {kept} | {} |", shown.join(", "))?;
        }
    }
    Ok(page)
}

/// Conversations that show a requirement, as links.
fn showing(rfc: &'static str, name: &'static str) -> impl Iterator<Item = String> {
    let clause = format!("{rfc} {name}");
    let talks = super::files().into_iter().flat_map(|(file, talks)| {
        let talks = talks.iter();
        talks.map(move |talk| (file, talk))
    });
    talks
        .filter(move |(_, talk)| talk.shows.contains(&clause.as_str()))
        .map(|(file, talk)| format!("[{}]({FOLDER}/{file}.rs)", talk.name))
}

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from tests/src/conversation/: change it there. -->

# Egress NAT and the RFCs

What the best current practices ask of a translator, whether SNAT pools
([topology.md](topology.md#snat)) keep it, and which test shows it. The tests run on the
host (`cargo test -p gateway-tests --test stages`) and, the same ones, in the kernel
(`--test fixtures`), each by its name.
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_claimed_is_shown() {
        for (rfc, _, clauses) in RFCS {
            for (name, _, kept) in clauses {
                let shown = showing(rfc, name).count();
                match kept {
                    Yes => assert!(shown > 0, "nothing shows {rfc} {name}"),
                    No(_) | Moot(_) => assert_eq!(shown, 0, "{rfc} {name} is shown after all"),
                    As(_) | Partly(_) => {}
                }
            }
        }
    }

    #[test]
    fn what_is_shown_is_asked_for() {
        let known: BTreeSet<String> = RFCS
            .iter()
            .flat_map(|(rfc, _, clauses)| {
                clauses
                    .iter()
                    .map(move |(name, ..)| format!("{rfc} {name}"))
            })
            .collect();
        for talk in crate::conversation::all() {
            for clause in talk.shows {
                assert!(known.contains(*clause), "{} shows {clause}", talk.name);
            }
        }
    }
}
