//! `lingyun status`: a running gateway, readable at 80 columns.

use std::{collections::BTreeMap, process::ExitCode};

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};

use super::{
    socket::Socket,
    table::{Table, bytes, count, paint, wrap},
};
use crate::{
    model::Condition,
    reachability::{NeighbourState, NextHop},
    server::{self, Unreachable},
    status::{Announced, Challenge, Status, Traffic},
};

const GOOD: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
const BAD: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));
const DIM: Style = Style::new().dimmed();
const PLAIN: Style = Style::new();

/// Shows what a running gateway serves, how much, and what it dropped.
///
/// Asks the agent through its Unix socket, so it works across network namespaces.
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON, for scripts; docs/agent.md describes the fields
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    socket: Socket,
}

/// Runs the command.
pub fn run(arguments: &Args) -> Result<ExitCode> {
    let socket = arguments.socket.path()?;
    let json = server::get_from_socket(&socket, "/status").map_err(|error| {
        if error.is::<Unreachable>() {
            error.context("is the gateway running here? Start it with `lingyun run`")
        } else {
            error
        }
    })?;
    if arguments.json {
        anstream::println!("{}", json.trim_end());
    } else {
        let status: Status = serde_json::from_str(&json).with_context(|| {
            format!(
                "{}: another version of lingyun answers; --json may help",
                socket.display()
            )
        })?;
        anstream::print!("{}", render(&status));
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole picture.
fn render(status: &Status) -> String {
    let mut out = head(status);
    for section in [
        services(status),
        floating_ips(status),
        vpcs(status),
        snat(status),
        interfaces(status),
        next_hops(status),
        reasons(status),
    ] {
        if !section.is_empty() {
            out.push('\n');
            out += &section.render();
        }
    }
    out
}

fn head(status: &Status) -> String {
    let (style, word) = if status.ready {
        (GOOD, "ready")
    } else {
        (BAD, "not ready")
    };
    let up = duration(status.uptime_seconds as u64);
    let name = paint(Style::new().bold(), &status.node);
    let word = paint(style, word);
    let mut out = format!("{name} is {word}, up {up}, lingyun {}\n", status.version);
    for reason in &status.not_ready {
        out += &paint(BAD, &wrap("  ", reason));
        out.push('\n');
    }
    let mut tables = BTreeMap::<u32, Vec<String>>::new();
    for Announced { address, table } in &status.announced {
        tables.entry(*table).or_default().push(address.to_string());
    }
    for (table, addresses) in &tables {
        let prefix = format!("announces from table {table}: ");
        out += &wrap(&prefix, &addresses.join(", "));
        out.push('\n');
    }
    if tables.is_empty() {
        out += "announces nothing\n";
    }
    if !status.reload.ok {
        let what = format!("the topology file was refused: {}", status.reload.message);
        for line in what.lines() {
            out += &paint(BAD, &wrap("", line));
            out.push('\n');
        }
    }
    let tracked = status
        .load_balancers
        .iter()
        .filter(|lb| lb.tracked_slots > 0);
    let tracked: Vec<_> = tracked.map(|lb| lb.name.as_str()).collect();
    if !tracked.is_empty() {
        let what = "backends changed, older flows stay where they are: ";
        out += &wrap(what, &tracked.join(", "));
        out.push('\n');
    }
    out
}

fn services(status: &Status) -> Table {
    let mut table = Table::numbers(["LOAD BALANCERS", "SHARE", "IN PKT", "IN", "OUT PKT", "OUT"]);
    for service in &status.load_balancers {
        let name = format!(
            "{} {} {}/{}",
            service.name, service.vip, service.protocol, service.port
        );
        table.row(PLAIN, traffic_row(name, String::new(), service.traffic));
        if let Some(challenge) = &service.challenge {
            table.row(challenge_style(challenge), challenge_row(challenge));
        }
        for backend in &service.backends {
            let (vpc, name, ip) = (&backend.vpc, &backend.instance, backend.address);
            let name = format!("  {vpc}/{name} {ip}:{}", backend.port);
            let share = match backend.condition {
                Condition::Serving => format!("{:.1}%", backend.share * 100.0),
                Condition::Draining => "drains".into(),
                Condition::Leaving => "leaves".into(),
                Condition::Dead => "dead".into(),
            };
            table.row(DIM, traffic_row(name, share, backend.traffic));
        }
    }
    table
}

fn floating_ips(status: &Status) -> Table {
    let mut table = Table::numbers(["FLOATING IPS", "", "IN PKT", "IN", "OUT PKT", "OUT"]);
    for floating in &status.floating_ips {
        let name = format!("{} {}/{}", floating.ip, floating.vpc, floating.instance);
        table.row(PLAIN, traffic_row(name, String::new(), floating.traffic));
        if let Some(challenge) = &floating.challenge {
            table.row(challenge_style(challenge), challenge_row(challenge));
        }
    }
    table
}

/// VPCs with traffic between instances that the gateway routed.
fn vpcs(status: &Status) -> Table {
    let mut table = Table::numbers(["ROUTED INSIDE", "", "IN PKT", "IN", "OUT PKT", "OUT"]);
    let used = |traffic: Traffic| traffic != Traffic::default();
    for vpc in status.vpcs.iter().filter(|vpc| used(vpc.routed)) {
        let name = format!("{} {}", vpc.name, vpc.vni);
        table.row(PLAIN, traffic_row(name, String::new(), vpc.routed));
    }
    table
}

/// Ports of egress NAT.
fn snat(status: &Status) -> Table {
    let mut table = Table::numbers(["SNAT", "", "USED", "RESTING", "FREE", "DROPPED"]);
    for pool in &status.snat {
        for address in &pool.addresses {
            for (at, ports) in address.ports.iter().enumerate() {
                let name = match at {
                    0 => format!("{} {}", pool.name, address.ip),
                    _ => String::new(),
                };
                let [used, resting, free] = [ports.used, ports.resting, ports.free].map(count);
                let style = if ports.is_high() { BAD } else { PLAIN };
                let protocol = ports.protocol.clone();
                table.row(style, [name, protocol, used, resting, free, String::new()]);
            }
        }
        for tenant in &pool.tenants {
            let dropped = tenant.exhausted + tenant.over_quota;
            let style = if dropped > 0 { BAD } else { DIM };
            let of = match tenant.quota {
                Some(quota) => format!("of {}", count(quota.into())),
                None => String::new(),
            };
            let name = format!("  {}", tenant.vpc);
            let row = [
                name,
                String::new(),
                count(tenant.used),
                of,
                String::new(),
                count(dropped),
            ];
            table.row(style, row);
        }
    }
    table
}

fn challenge_style(challenge: &Challenge) -> Style {
    if challenge.on { BAD } else { DIM }
}

/// What the guard asks of unknown sources.
fn challenge_row(challenge: &Challenge) -> [String; 6] {
    let text = match (challenge.on, challenge.on_for_seconds) {
        (false, _) => "  challenge off".into(),
        (true, None) => "  challenge on".into(),
        (true, Some(seconds)) => format!("  challenge on for {}", duration(seconds as u64)),
    };
    let [a, b, c, d, e] = [(); 5].map(|()| String::new());
    [text, a, b, c, d, e]
}

fn traffic_row(name: String, share: String, traffic: Traffic) -> [String; 6] {
    let Traffic {
        in_packets,
        in_bytes,
        out_packets,
        out_bytes,
    } = traffic;
    let [inward, outward] =
        [(in_packets, in_bytes), (out_packets, out_bytes)].map(|(p, b)| [count(p), bytes(b)]);
    let ([in_packets, in_bytes], [out_packets, out_bytes]) = (inward, outward);
    [name, share, in_packets, in_bytes, out_packets, out_bytes]
}

fn interfaces(status: &Status) -> Table {
    let mut table = Table::words(["INTERFACES", "SIDE", "XDP", "LINK", "MTU", "MAC"]);
    for interface in &status.interfaces {
        let style = if interface.up && interface.mode.is_some() {
            PLAIN
        } else {
            BAD
        };
        let link = match (interface.mac, interface.up) {
            (None, _) => "missing",
            (_, true) => "up",
            (_, false) => "down",
        };
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        table.row(
            style,
            [
                interface.name.clone(),
                interface.role.to_string(),
                interface
                    .mode
                    .map_or("not attached".into(), |mode| mode.to_string()),
                link.into(),
                or_none(interface.mtu.map(|mtu| mtu.to_string())),
                or_none(interface.mac.map(|mac| mac.to_string())),
            ],
        );
    }
    table
}

fn next_hops(status: &Status) -> Table {
    let mut table = Table::words(["NEXT HOPS", "ROUTER", "MAC", "STATE"]);
    add_hops(&mut table, "public network", &status.uplinks);
    for tunnel in &status.tunnels {
        add_hops(
            &mut table,
            &format!("{} {}", tunnel.name, tunnel.vtep),
            &tunnel.next_hops,
        );
    }
    table
}

fn add_hops(table: &mut Table, towards: &str, hops: &[NextHop]) {
    if hops.is_empty() {
        table.row(
            BAD,
            [towards.into(), "no route".into(), "-".into(), "-".into()],
        );
    }
    for hop in hops {
        let style = if hop.is_usable() { PLAIN } else { BAD };
        let state = match hop.state {
            NeighbourState::Incomplete => "incomplete",
            NeighbourState::Reachable => "reachable",
            NeighbourState::Stale => "stale",
            NeighbourState::Permanent => "permanent",
            NeighbourState::Failed => "failed",
        };
        let mac = hop.mac.map_or("unknown".into(), |mac| mac.to_string());
        let towards = format!("{towards} by {}", hop.interface);
        table.row(style, [towards, hop.address.to_string(), mac, state.into()]);
    }
}

/// What was not forwarded, most frequent last outcome first: drops, then answers,
/// then what the kernel got.
fn reasons(status: &Status) -> Table {
    let mut table = Table::numbers(["NOT FORWARDED", "", "PACKETS", "BYTES"]);
    for (outcome, style) in [("dropped", BAD), ("answered", PLAIN), ("passed", DIM)] {
        let mut reasons: Vec<_> = status
            .reasons
            .iter()
            .filter(|reason| reason.outcome == outcome && reason.packets > 0)
            .collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.packets));
        for reason in reasons {
            let number = [count(reason.packets), bytes(reason.bytes)];
            let [packets, bytes] = number;
            table.row(
                style,
                [reason.reason.clone(), outcome.into(), packets, bytes],
            );
        }
    }
    table
}

/// The two largest units.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::sample;

    fn text(status: &Status) -> String {
        anstream::adapter::strip_str(&render(status)).to_string()
    }

    #[test]
    fn fits_80_columns() {
        let mut status = sample();
        let ipv4 = text(&status);
        println!("{ipv4}");
        for hop in status
            .tunnels
            .iter_mut()
            .flat_map(|tunnel| &mut tunnel.next_hops)
        {
            hop.address = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff".parse().unwrap();
        }
        let text = ipv4 + &text(&status);
        for line in text.lines() {
            assert!(
                line.chars().count() <= 80,
                "{} columns: {line}",
                line.chars().count()
            );
            assert_eq!(line, line.trim_end(), "no blanks at the end");
        }
    }

    #[test]
    fn shows_what_matters() {
        let text = text(&sample());
        let line = |start: &str| {
            let found = text
                .lines()
                .find(|line| line.trim_start().starts_with(start));
            found
                .unwrap_or_else(|| panic!("no line {start} in\n{text}"))
                .to_owned()
        };
        assert!(line("shop/haproxy-1").contains("drains"));
        assert!(line("the topology file was refused").contains("site.yaml:3"));
        assert!(line("backends changed").contains("orders"));
        assert!(line("shop/haproxy-2").contains("75.0%"));
        assert!(line("public network").contains("02:00:00:00:00:09  reachable"));
        assert!(line("out 203.0.113.40").contains("12.0k"));
        assert!(line("host-b").contains("no route"));
        assert!(line("no_reverse").contains("dropped"));
        assert!(
            !text.contains("truncated"),
            "what never happened is not shown"
        );
        assert!(line("gw1 is not ready").contains("up 3 h 25 min"));
    }

    #[test]
    fn durations_have_two_units() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
