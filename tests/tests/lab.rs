//! The lab itself: it comes up, it works, and it leaves nothing, however it ends.

use std::{
    net::IpAddr,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use gateway_tests::lab::{
    Lab, Options, Progress, RunId,
    state::{self, Standing},
};
use libtest_mimic::{Arguments, Failed, Trial};

type Test = fn() -> Result<()>;

const TESTS: &[(&str, Test)] = &[
    ("works_and_leaves_nothing", works_and_leaves_nothing),
    (
        "an_owner_may_be_killed_at_any_moment",
        an_owner_may_be_killed_at_any_moment,
    ),
    ("two_labs_stand_side_by_side", two_labs_stand_side_by_side),
    (
        "a_kept_lab_stays_until_it_is_taken_down",
        a_kept_lab_stays_until_it_is_taken_down,
    ),
    (
        "a_gateway_dies_and_comes_back",
        a_gateway_dies_and_comes_back,
    ),
    (
        "a_failed_start_names_the_culprit_and_leaves_nothing",
        a_failed_start_leaves_nothing,
    ),
];

fn main() {
    let missing = (!nix::unistd::geteuid().is_root()).then_some("needs root");
    let trials = TESTS.iter().map(|(name, test)| {
        let name = match missing {
            Some(missing) => format!("{name} (skipped: {missing})"),
            None => (*name).to_owned(),
        };
        Trial::test(name, || {
            test().map_err(|error| Failed::from(format!("{error:#}")))
        })
        .with_ignored_flag(missing.is_some())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn topology() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../topologies/order.yaml")
}

fn up() -> Result<Lab> {
    Lab::up(&topology(), Options::default(), &Progress::silent())
}

fn leaves_nothing(run: &RunId) -> Result<()> {
    let traces = state::traces(run);
    ensure!(traces.is_empty(), "lab {run} left {traces:?}");
    Ok(())
}

fn pings(lab: &Lab, node: &str, address: &str) -> Result<bool> {
    let output = lab.exec(
        node,
        &["ping", "-n", "-q", "-c2", "-i0.2", "-W0.5", address],
    )?;
    Ok(output.status.success())
}

fn says(lab: &Lab, node: &str, argv: &[&str]) -> Result<String> {
    let output = lab.exec(node, argv)?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{} in {node}: {error}",
        argv.join(" ")
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn works_and_leaves_nothing() -> Result<()> {
    let lab = up()?;
    let run = lab.run().clone();
    let gateways = ["gw1", "gw2"];

    // Flows are spread over both gateways, in both directions.
    for (node, address) in [("border", "203.0.113.10"), ("spine", "10.0.0.100")] {
        let route = says(&lab, node, &["ip", "route", "show", address])?;
        for gateway in gateways {
            ensure!(
                route.contains(&format!("dev {gateway} ")),
                "{node}: {route}"
            );
        }
    }

    // Instances of a VPC reach each other within and across hosts ...
    for address in ["172.16.1.12", "172.16.1.21", "172.16.1.31", "172.16.1.1"] {
        ensure!(
            pings(&lab, "shop/haproxy-1", address)?,
            "haproxy-1 cannot reach {address}"
        );
    }
    // ... and not those of another: 172.16.1.31 is the shop's alone.
    for other in ["other/web-1", "other/web-2"] {
        ensure!(
            pings(&lab, other, "172.16.1.1")?,
            "{other} cannot reach its router"
        );
        ensure!(
            !pings(&lab, other, "172.16.1.31")?,
            "{other} reaches the shop's database"
        );
    }
    // The same address is another machine in each VPC.
    for (from, mac) in [
        ("shop/haproxy-1", "02:aa:00:00:01:21"),
        ("other/web-1", "02:aa:00:00:02:21"),
    ] {
        ensure!(
            pings(&lab, from, "172.16.1.21")?,
            "{from} cannot reach 172.16.1.21"
        );
        let neighbour = says(&lab, from, &["ip", "neighbour", "show", "172.16.1.21"])?;
        ensure!(neighbour.contains(mac), "{from}: {neighbour}");
    }

    let psql = [
        "psql",
        "-h",
        "172.16.1.31",
        "-U",
        "orders",
        "-Atc",
        "SELECT 6 * 7",
    ];
    ensure!(
        says(&lab, "shop/controller-1", &psql)?.trim() == "42",
        "the database answers wrong"
    );

    let (name, address): (String, IpAddr) = lab.shop().context("the site has a shop")?;
    let url = format!("https://{name}/");
    let resolve = format!("{name}:443:{address}");
    let authority = lab.authority().display().to_string();
    let curl = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--resolve",
        &resolve,
    ];
    let curl = [
        &curl[..],
        &["--cacert", &authority, "--max-time", "5", &url],
    ]
    .concat();
    let code = says(&lab, "phone", &curl)?;
    ensure!(
        code != "000",
        "the shop does not speak HTTPS through its public address"
    );

    for gateway in gateways {
        ensure!(
            lab.gateway_status(gateway)?.node == gateway,
            "{gateway} has no status"
        );
    }

    lab.set_loss("operator", "phone", 100)?;
    ensure!(
        !pings(&lab, "phone", "198.51.100.1")?,
        "a link that loses all carries a ping"
    );
    lab.set_loss("operator", "phone", 0)?;
    ensure!(
        pings(&lab, "phone", "198.51.100.1")?,
        "the loss does not end"
    );

    lab.down()?;
    leaves_nothing(&run)
}

/// An owner in another process, so that it can be killed.
fn owner(run: &RunId, more: &[&str]) -> Result<std::process::Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lingyun-lab"));
    command
        .args(["up", "--run", &run.to_string(), "--topology"])
        .arg(topology())
        .args(more);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().context("start lingyun-lab")
}

fn an_owner_may_be_killed_at_any_moment() -> Result<()> {
    // From before the first namespace until after the last step, with and without
    // the tie that lets children die at once.
    for moment in [5, 30, 60, 120, 250, 500, 900, 1400, 2500] {
        for more in [&[][..], &["--keep"]] {
            let run = RunId::random();
            let mut owner = owner(&run, more)?;
            thread::sleep(Duration::from_millis(moment));
            // One with --keep may be through already; then it is no owner any more.
            owner.kill()?;
            owner.wait()?;
            state::remove_stale()?;
            if let Ok(kept) = state::find(&run) {
                ensure!(
                    kept.standing == Standing::Kept,
                    "lab {run} is {:?}",
                    kept.standing
                );
                state::remove(&kept)?;
            }
            leaves_nothing(&run).with_context(|| format!("killed after {moment} ms"))?;
        }
    }
    Ok(())
}

fn two_labs_stand_side_by_side() -> Result<()> {
    let one = up()?;
    let two = up()?;
    let (first, second) = (one.run().clone(), two.run().clone());
    ensure!(first != second, "two labs with the id {first}");
    // What a third does first must not touch them.
    state::remove_stale()?;
    for lab in [&one, &two] {
        ensure!(
            pings(lab, "phone", "203.0.113.20")?,
            "lab {}: no floating IP",
            lab.run()
        );
    }
    one.down()?;
    leaves_nothing(&first)?;
    ensure!(
        pings(&two, "phone", "203.0.113.20")?,
        "lab {second} died with lab {first}"
    );
    let again = Options {
        run: Some(second.clone()),
        ..Options::default()
    };
    let error = Lab::up(&topology(), again, &Progress::silent())
        .err()
        .map(|e| format!("{e:#}"));
    let refused = error
        .as_deref()
        .is_some_and(|error| error.contains("there is a lab"));
    ensure!(refused, "a second lab {second}: {error:?}");
    drop(two);
    leaves_nothing(&second)
}

fn a_kept_lab_stays_until_it_is_taken_down() -> Result<()> {
    let run = RunId::random();
    let id = run.to_string();
    let mut owner = owner(&run, &["--keep"])?;
    ensure!(owner.wait()?.success(), "lingyun-lab up --keep fails");
    state::remove_stale()?;
    let binary = env!("CARGO_BIN_EXE_lingyun-lab");
    let ping = [
        "exec",
        "--run",
        &id,
        "phone",
        "--",
        "ping",
        "-qc1",
        "-W1",
        "203.0.113.20",
    ];
    let inside = Command::new(binary).args(ping).output()?;
    ensure!(
        inside.status.success(),
        "{}",
        String::from_utf8_lossy(&inside.stderr)
    );
    ensure!(
        Command::new(binary)
            .args(["down", "--run", &id])
            .status()?
            .success(),
        "down fails"
    );
    leaves_nothing(&run)
}

fn a_gateway_dies_and_comes_back() -> Result<()> {
    let lab = up()?;
    let ways = |address: &str, node: &str| -> Result<Vec<String>> {
        let route = says(&lab, node, &["ip", "route", "show", address])?;
        let gateways = ["gw1", "gw2"].into_iter();
        Ok(gateways
            .filter(|g| route.contains(&format!("dev {g} ")))
            .map(str::to_owned)
            .collect())
    };
    let becomes = |expected: &[&str]| -> Result<Duration> {
        let start = Instant::now();
        loop {
            let now = (
                ways("203.0.113.10", "border")?,
                ways("10.0.0.100", "spine")?,
            );
            if now.0 == expected && now.1 == expected {
                return Ok(start.elapsed());
            }
            ensure!(
                start.elapsed() < Duration::from_secs(5),
                "{now:?}, expected {expected:?}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    };
    lab.kill_gateway("gw1")?;
    becomes(&["gw2"])?;
    ensure!(lab.gateway_status("gw1").is_err(), "a dead gateway answers");
    ensure!(
        pings(&lab, "phone", "203.0.113.20")?,
        "the other gateway does not carry on"
    );
    lab.revive_gateway("gw1")?;
    becomes(&["gw1", "gw2"])?;

    // Silent: only BFD can tell, and it must, long before BGP's hold time of 9 s.
    lab.silence_gateway("gw2", true)?;
    let noticed = becomes(&["gw1"])?;
    ensure!(noticed < Duration::from_secs(1), "BFD took {noticed:?}");
    lab.revive_gateway("gw2")?;
    becomes(&["gw1", "gw2"]).map(drop)
}

fn a_failed_start_leaves_nothing() -> Result<()> {
    let run = RunId::random();
    let id = run.to_string();
    let directory = tempfile::tempdir()?;
    let peer = directory.path().join("peer");
    std::fs::write(&peer, "#!/bin/sh\necho no peer today >&2\nexit 3\n")?;
    std::fs::set_permissions(&peer, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lingyun-lab"));
    lab.args(["up", "--run", &id, "--topology"]).arg(topology());
    let output = lab.env("LINGYUN_BIN_DIR", directory.path()).output()?;
    ensure!(!output.status.success(), "it came up without its peers");
    let error = String::from_utf8_lossy(&output.stderr);
    for part in [".peer ended (exit status: 3)", "no peer today"] {
        ensure!(
            error.contains(part),
            "the error does not say `{part}`: {error}"
        );
    }
    leaves_nothing(&run)
}
