//! The journey on real TLS: the request and its answer are found among what curl and
//! the order service really send.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use gateway_tests::{
    capture::{Capture, Direction, Recording},
    journey::{Client, Database, Expectation, Journey, Service, trace},
};
use lingyun::config::Mac;
use nix::sys::signal::Signal;

use super::{
    Test,
    netns::Pair,
    order::certificates,
    postgres::Postgres,
    process::{Process, output},
};

/// All of them.
pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_tls_1_3_order_and_its_answer_are_found", tls_1_3),
    ("a_tls_1_2_order_and_its_answer_are_found", tls_1_2),
];

const LEFT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Long enough for the request and its answer to have sizes of their own.
const CUSTOMER: &str = "a customer whose name is rather long, so that the body is too";

/// Orders with curl from the left to the service on the right, with everything
/// captured, and follows the order.
fn order(version: &str) -> Result<(Recording, Journey)> {
    let postgres = Postgres::start()?;
    let certificates = certificates()?;
    let pair = Pair::new()?;
    pair.offload(false)?;
    let within = |namespace: &str, program: &str| {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", pair.path(namespace).display()))
            .arg(program);
        command
    };
    let mut service = within("right", env!("CARGO_BIN_EXE_order-service"));
    service.args([
        "--listen",
        "192.0.2.2:443",
        "--name",
        "controller-1",
        "--database",
    ]);
    service
        .arg(postgres.description())
        .arg("--cert-dir")
        .arg(certificates.path());
    let _service = Process::start(service.env("RUST_LOG", "off"), Signal::SIGTERM)?;
    pair.within("left", || {
        super::process::wait_for("192.0.2.2:443".parse()?)
    })?;

    let capture = Capture::start(&[pair.points("left")?, pair.points("right")?].concat())?;
    let mut curl = within("left", "curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--resolve"]);
    curl.args([
        "www.shop.lab:443:192.0.2.2",
        "--tlsv1.2",
        "--tls-max",
        version,
        "--cacert",
    ]);
    curl.arg(certificates.path().join("ca.pem"));
    curl.args(["--header", "Content-Type: application/json"]);
    curl.args([
        "--header",
        "Idempotency-Key: some-key",
        "--output",
        "/dev/null",
    ]);
    curl.args(["--write-out", "%{http_code} %{local_port}", "--data"]);
    curl.arg(format!(
        r#"{{"item": "teapot", "quantity": 1, "customer": "{CUSTOMER}"}}"#
    ));
    let told = output(curl.arg("https://www.shop.lab/purchaseOrder"))?;
    let recording = capture.stop()?;
    let (status, port) = told.split_once(' ').context("a status and a port")?;
    ensure!(status == "201", "{told}");
    let journey = trace(&recording.frames, &expectation(Some(port.parse()?)))?;
    Ok((recording, journey))
}

/// A site without gateways: the service answers at the public address itself.
fn expectation(port: Option<u16>) -> Expectation {
    Expectation {
        client: Client {
            namespace: "left".to_owned(),
            ip: LEFT,
            port,
        },
        vip: SocketAddrV4::new(RIGHT, 443),
        gateways: Vec::new(),
        anycast_vtep: Ipv4Addr::UNSPECIFIED,
        vni: 1,
        router_mac: Mac::default(),
        proxies: Vec::new(),
        controllers: Vec::new(),
        database: Some(Database {
            service: Service {
                namespace: "database".to_owned(),
                address: SocketAddrV4::new(RIGHT, 5432),
                mac: Mac::default(),
                host: "none".to_owned(),
                vtep: Ipv4Addr::UNSPECIFIED,
            },
            needle: b"some-key".to_vec(),
        }),
        mac_names: BTreeMap::new(),
    }
}

fn tls_1_3() -> Result<()> {
    check("1.3")
}

fn tls_1_2() -> Result<()> {
    check("1.2")
}

fn check(version: &str) -> Result<()> {
    let (recording, journey) = order(version)?;
    for (rows, what, ends) in [
        (
            &journey.request,
            &journey.request_is,
            ["left:wire", "right:wire"],
        ),
        (
            &journey.answer,
            journey.answer_is.as_ref().context("there is an answer")?,
            ["right:wire", "left:wire"],
        ),
    ] {
        ensure!(rows.len() == 1, "one wire, one row: {rows:?}");
        let seen: Vec<_> = rows[0]
            .seen
            .iter()
            .map(|s| (s.point.to_string(), s.direction))
            .collect();
        let [from, to] = ends.map(str::to_owned);
        ensure!(
            seen == [(from, Direction::Out), (to, Direction::In)],
            "{seen:?}"
        );
        let size: usize = what
            .split(' ')
            .find_map(|word| word.parse().ok())
            .with_context(|| format!("a size in `{what}`"))?;
        // Both carry the customer's name and a few headers; Finished, tickets and
        // alerts are smaller, the certificate is larger.
        ensure!((200..500).contains(&size), "{what}");
    }
    ensure!(
        journey.answer[0].since_start_ns > 0,
        "the answer comes later"
    );
    ensure!(
        journey.checksums.wrong.is_empty(),
        "{:?}",
        journey.checksums
    );
    ensure!(journey.checksums.right > 10, "{:?}", journey.checksums);
    // Without its port, the client's last connection is the one.
    let guessed = trace(&recording.frames, &expectation(None))?;
    ensure!(
        guessed.request_is == journey.request_is,
        "{}",
        guessed.request_is
    );
    Ok(())
}
