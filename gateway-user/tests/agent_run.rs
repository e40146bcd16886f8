//! The `lingyun` command itself, on veths in namespaces of its own: takes a node
//! over, announces while it can serve, survives a kill, cleans up.

mod agent_guard;
mod agent_ipv6;
mod agent_reload;
mod agent_site;
mod netlink_lab;

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use agent_site::{Agent, LINGYUN, OBJECT, PATIENCE, Site, TOPOLOGY};
use lingyun::datapath::Role;
use netlink_lab::{Lab, in_namespace};
use nix::sys::signal::Signal;

fn node(lab: &Lab) {
    lab.ip("link set lo up");
    lab.link("eth0", "192.0.2.10/30", "192.0.2.9/30");
    lab.link("eth1", "10.0.11.2/30", "10.0.11.1/30");
}

/// Addresses held in a table. Asking for one table fails where it is empty.
fn announced(lab: &Lab, table: u32) -> usize {
    let table = format!(" table {table} ");
    let routes = lab.ip("route show table all type blackhole");
    routes
        .lines()
        .filter(|route| route.contains(&table))
        .count()
}

/// Waits for the kernel to say so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not yet after {PATIENCE:?}"
        );
        thread::sleep(Duration::from_millis(2));
    }
    println!("{what}: {:.0?}", start.elapsed());
}

/// Whether the machine and the build can run an agent at all.
fn can_run(test: &str) -> bool {
    let object = Path::new(OBJECT).exists();
    if !object {
        println!("skipped: {test}: the XDP object is not built: type `cargo xtask build`");
    }
    object
}

#[test]
fn announces_while_it_can_serve_and_leaves_nothing_behind() {
    let name = "announces_while_it_can_serve_and_leaves_nothing_behind";
    if !can_run(name) {
        return;
    }
    in_namespace(name, async |lab: &Lab| {
        node(lab);
        let site = Site::new("announce");
        let mut agent = site.start(&[]);
        let answering = agent.says("answering on http://");
        agent.says("not ready, announcing nothing");
        let status = agent.status();
        assert!(!status.ready && status.announced.is_empty());
        assert_eq!(
            status.not_ready.len(),
            2,
            "neither way: {:?}",
            status.not_ready
        );
        assert_eq!(status.interfaces[0].role, Role::Public);
        assert!(lab.ip("link show eth0").contains("xdp"), "attached");
        assert!(lab.ip("link show eth1").contains("xdp"), "attached");

        lab.ip("route add default via 192.0.2.9");
        lab.ip("route add 10.0.1.0/24 via 10.0.11.1");
        agent.says("ready: announcing 3 addresses");
        until("announced", || {
            announced(lab, 100) == 2 && announced(lab, 101) == 1
        });
        let status = agent.status();
        assert!(status.ready && status.announced.len() == 3);
        assert!(status.uplinks[0].is_usable() && status.tunnels[0].next_hops[0].is_usable());
        assert!((status.load_balancers[0].backends[0].share - 1.0).abs() < 1e-9);
        assert!(status.updates.count > 0 && status.updates.failures == 0);

        let address = answering.split("http://").nth(1).expect("a URL");
        let address = address.split('/').next().expect("a host");
        let metrics = http(address, "/metrics");
        assert!(metrics.contains("lingyun_ready 1"), "{metrics}");
        assert!(
            metrics.contains("lingyun_announced_prefixes{table=\"100\"} 2"),
            "{metrics}"
        );
        assert!(http(address, "/readyz").ends_with("ready\n"));
        assert!(http(address, "/healthz").ends_with("ok\n"));

        traffic_is_counted(lab, &agent);

        lab.ip("route del 10.0.1.0/24");
        until("withdrawn without a way to the hosts", || {
            announced(lab, 100) == 0
        });
        lab.ip("route add 10.0.1.0/24 via 10.0.11.1");
        until("announced again", || announced(lab, 100) == 2);

        agent.signal(Signal::SIGTERM);
        agent.says("withdrawing");
        agent.says("nothing is left behind");
        assert!(agent.end().success());
        assert!(announced(lab, 100) + announced(lab, 101) == 0, "withdrawn");
        assert!(!lab.ip("link show").contains("xdp"), "detached");
        assert!(
            !site.socket().exists() && !site.pins.exists(),
            "no files left"
        );
    });
}

#[test]
fn a_killed_agent_is_replaced_without_a_gap() {
    let name = "a_killed_agent_is_replaced_without_a_gap";
    if !can_run(name) {
        return;
    }
    in_namespace(name, async |lab: &Lab| {
        node(lab);
        lab.ip("route add default via 192.0.2.9");
        lab.ip("route add 10.0.1.0/24 via 10.0.11.1");
        let site = Site::new("killed");
        let mut first = site.start(&[]);
        first.says("ready: announcing");
        until("announced", || announced(lab, 100) == 2);

        let mut second = site.start(&[]);
        second.says("an agent is running already");
        assert_eq!(second.end().code(), Some(1));

        first.signal(Signal::SIGKILL);
        first.end();
        assert!(
            lab.ip("link show eth0").contains("xdp"),
            "the program carries on"
        );
        assert_eq!(announced(lab, 100), 2, "still announced");

        // What the killed one announced and this one does not want goes.
        lab.ip("route add blackhole 203.0.113.77/32 table 100 proto 99");
        let mut third = site.start(&[]);
        third.says("took over eth0");
        third.says("took over eth1");
        third.says("ready: announcing 3 addresses");
        until("the stale one is gone", || announced(lab, 100) == 2);

        // An interface is replaced under the agent.
        lab.ip("link del eth0");
        third.says("not ready");
        lab.link("eth0", "192.0.2.10/30", "192.0.2.9/30");
        lab.ip("route add default via 192.0.2.9");
        third.says("attached to eth0, which was made anew");
        third.says("ready: announcing 3 addresses");
        assert!(
            lab.ip("link show eth0").contains("xdp"),
            "attached to the new one"
        );

        third.signal(Signal::SIGINT);
        assert!(third.end().success());
        assert!(!lab.ip("link show").contains("xdp"), "detached");
        assert!(!site.pins.exists(), "no pins left");
    });
}

#[test]
fn says_what_is_wrong_before_it_touches_anything() {
    let name = "says_what_is_wrong_before_it_touches_anything";
    if !can_run(name) {
        return;
    }
    in_namespace(name, async |lab: &Lab| {
        lab.ip("link set lo up");
        lab.link("eth0", "192.0.2.10/30", "192.0.2.9/30");
        let site = Site::new("wrong");
        let mut agent = site.start(&[]);
        agent.says("interface eth1 of gateway gw1 is not on this machine");
        assert_eq!(agent.end().code(), Some(1));
        assert!(!lab.ip("link show").contains("xdp"), "nothing was attached");
        assert!(!site.socket().exists(), "no socket left");

        let mut agent = site.start(&["--node", "gw9"]);
        agent.says("no gateway gw9: it has gw1");
        assert_eq!(agent.end().code(), Some(1));

        // A bridge runs no XDP program by itself.
        lab.ip("link add eth1 type bridge");
        lab.ip("address add 10.0.11.2/30 dev eth1");
        lab.ip("link set eth1 up");
        let mut agent = site.start(&[]);
        agent.says("cannot attach to eth1: the driver of eth1 does not run XDP natively");
        assert_eq!(agent.end().code(), Some(1));
        assert!(
            !lab.ip("link show").contains("xdp"),
            "eth0 was detached again"
        );

        let mut agent = site.start(&["--xdp-mode", "generic"]);
        agent.says("generic XDP, as asked for");
        agent.says("answering on");
        assert!(lab.ip("link show eth1").contains("xdpgeneric"), "attached");
        agent.signal(Signal::SIGTERM);
        assert!(agent.end().success());
    });
}

/// What the peer sends to the public addresses runs through the program, by the
/// tables that the agent wrote, and shows in the status.
fn traffic_is_counted(lab: &Lab, agent: &Agent) {
    lab.peer_ip("route add 203.0.113.0/24 via 192.0.2.10");
    let script = "echo > /dev/udp/203.0.113.10/9; \
                  timeout 0.1 bash -c ': > /dev/tcp/203.0.113.10/443'";
    // Nobody answers: no VM is there.
    let _ = lab
        .peer
        .command("bash")
        .args(["-c", script])
        .status()
        .expect("bash");
    let mut status = agent.status();
    until("counted", || {
        status = agent.status();
        status.load_balancers[0].traffic.in_packets > 0
    });
    assert_eq!(
        status.load_balancers[0].backends[0].traffic,
        status.load_balancers[0].traffic
    );
    let dropped = status
        .reasons
        .iter()
        .find(|count| count.reason == "no_service");
    assert_eq!(dropped.expect("all reasons are there").packets, 1);

    let shown = Command::new(LINGYUN)
        .arg("status")
        .arg("--socket")
        .arg(&agent.socket)
        .output();
    let shown = String::from_utf8(shown.expect("it runs").stdout).expect("text");
    println!("{shown}");
    assert!(shown.contains("no_service") && shown.contains("shop/web-1 172.16.1.11:443"));
    assert!(shown.lines().all(|line| line.chars().count() <= 80));
    assert!(!shown.contains('\x1b'), "no colour but on a terminal");
}

#[test]
fn a_dry_run_tells_interfaces_and_sides() {
    let told = Command::new(LINGYUN)
        .args(["run", "--dry-run", "--topology", TOPOLOGY])
        .output()
        .expect("it runs");
    let text = String::from_utf8(told.stdout).expect("text");
    assert_eq!(text, "eth0 public\neth1 underlay\n");
    assert!(told.status.success());
}

/// One GET, whole answer.
fn http(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the agent listens");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// On a machine just booted nothing is mounted, and a lab starts several agents at
/// once: a second mount would hide the pins of whoever was first.
#[test]
fn agents_that_start_at_once_mount_bpffs_once() {
    const TEST: &str = "agents_that_start_at_once_mount_bpffs_once";
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: {TEST}: needs root");
        return;
    }
    let mounts = thread::spawn(|| {
        use nix::{
            mount::{MntFlags, MsFlags, mount, umount2},
            sched::{CloneFlags, unshare},
        };
        // A view of the mounts that this thread and those it starts have alone.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        while umount2("/sys/fs/bpf", MntFlags::MNT_DETACH).is_ok() {}
        let start = std::sync::Barrier::new(16);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    start.wait();
                    lingyun::datapath::ensure_bpffs().unwrap();
                });
            }
        });
        std::fs::read_to_string("/proc/thread-self/mounts").unwrap()
    });
    let mounts = mounts.join().unwrap();
    let bpffs = mounts.lines().filter(|line| line.contains(" /sys/fs/bpf "));
    assert_eq!(bpffs.count(), 1, "{mounts}");
}
