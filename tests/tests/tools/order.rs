//! The order service: nothing is sold twice, no order is taken twice.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Command, sync::Arc};

use anyhow::{Context, Result, ensure};
use gateway_tests::order::store::{Outcome, Request, Store};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{
    Test, http,
    postgres::Postgres,
    process::{Process, free_address, output, wait_for},
};

/// All of them.
pub(crate) const TESTS: &[(&str, Test)] = &[
    ("twenty_orders_at_once_sell_the_last_ten_pieces", last_ten),
    ("one_key_ten_times_at_once_makes_one_order", one_key),
    ("a_key_stands_for_one_content", key_reused),
    ("two_services_side_by_side_over_https", side_by_side),
    ("the_database_may_come_late_and_go_away", database_away),
];

/// What is missing to run them here.
pub(crate) fn missing() -> Option<String> {
    Postgres::missing()
}

fn teapots(quantity: i32) -> Request {
    Request {
        item: "teapot".to_owned(),
        quantity,
        customer: "someone".to_owned(),
    }
}

fn shelf(pieces: i32) -> Vec<(String, i32)> {
    vec![("teapot".to_owned(), pieces)]
}

/// Runs `orders` at once, alternating between two stores on one new database, each of
/// which creates the tables.
fn at_once(
    pieces: i32,
    orders: impl IntoIterator<Item = (String, Request)>,
) -> Result<(Vec<Outcome>, i32)> {
    let postgres = Postgres::start()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let stores = [
            Arc::new(Store::new(
                &postgres.description(),
                "controller-1",
                &shelf(pieces),
            )?),
            Arc::new(Store::new(
                &postgres.description(),
                "controller-2",
                &shelf(pieces),
            )?),
        ];
        let mut running = JoinSet::new();
        for (number, (key, request)) in orders.into_iter().enumerate() {
            let store = stores[number % 2].clone();
            running.spawn(async move { store.order(&key, &request).await });
        }
        let outcomes = running
            .join_all()
            .await
            .into_iter()
            .collect::<Result<_>>()?;
        let left = stores[0]
            .stock("teapot")
            .await?
            .context("teapots are on the shelf")?;
        Ok((outcomes, left.quantity))
    })
}

fn last_ten() -> Result<()> {
    let (outcomes, left) = at_once(10, (0..20).map(|n| (format!("key-{n}"), teapots(1))))?;
    let taken = outcomes
        .iter()
        .filter(|o| matches!(o, Outcome::Taken(_)))
        .count();
    let sold_out = outcomes
        .iter()
        .filter(|o| matches!(o, Outcome::SoldOut(_)))
        .count();
    ensure!(
        (taken, sold_out, left) == (10, 10, 0),
        "{taken} taken, {sold_out} sold out, {left} left"
    );
    Ok(())
}

fn one_key() -> Result<()> {
    let (outcomes, left) = at_once(10, (0..10).map(|_| ("the-key".to_owned(), teapots(2))))?;
    let mut ids = BTreeSet::new();
    let mut taken = 0;
    for outcome in outcomes {
        match outcome {
            Outcome::Taken(order) => {
                taken += 1;
                ids.insert(order.id);
            }
            Outcome::Known(order) => {
                ids.insert(order.id);
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(
        (taken, ids.len(), left) == (1, 1, 8),
        "{taken} taken, ids {ids:?}, {left} left"
    );
    Ok(())
}

fn key_reused() -> Result<()> {
    let postgres = Postgres::start()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let store = Store::new(&postgres.description(), "controller-1", &shelf(3))?;
        let first = store.order("k", &teapots(1)).await?;
        ensure!(matches!(first, Outcome::Taken(_)), "{first:?}");
        let other = store.order("k", &teapots(2)).await?;
        ensure!(matches!(other, Outcome::KeyReused(_)), "{other:?}");
        let too_many = store.order("l", &teapots(3)).await?;
        ensure!(matches!(too_many, Outcome::SoldOut(_)), "{too_many:?}");
        // A refused order leaves nothing behind: its key is free for a smaller one.
        let smaller = store.order("l", &teapots(2)).await?;
        ensure!(matches!(smaller, Outcome::Taken(_)), "{smaller:?}");
        let unknown = Request {
            item: "moon".to_owned(),
            ..teapots(1)
        };
        ensure!(store.order("m", &unknown).await? == Outcome::UnknownItem);
        Ok(())
    })
}

/// A running order service with its certificates.
struct Service {
    address: SocketAddr,
    authority: std::path::PathBuf,
    process: Process,
}

impl Service {
    fn start(certificates: &Path, database: &str, name: &str) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_order-service"));
        command.args([
            "--listen",
            &address.to_string(),
            "--database",
            database,
            "--name",
            name,
        ]);
        command
            .arg("--cert-dir")
            .arg(certificates)
            .args(["--stock", "teapot=5"]);
        command.env("RUST_LOG", "off");
        let process = Process::start(&mut command, Signal::SIGTERM)?;
        wait_for(address)?;
        Ok(Self {
            address,
            authority: certificates.join("ca.pem"),
            process,
        })
    }

    fn request(&self, path: &str, arguments: &[&str]) -> Result<(u16, Value)> {
        let port = self.address.port();
        let mut all = vec![
            "--cacert".to_owned(),
            self.authority.display().to_string(),
            "--resolve".to_owned(),
            format!("www.shop.lab:{port}:127.0.0.1"),
            format!("https://www.shop.lab:{port}{path}"),
        ];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        http::request(all)
    }

    fn order(&self, key: &str, quantity: i64) -> Result<(u16, Value)> {
        let body = json!({ "item": "teapot", "quantity": quantity, "customer": "someone" });
        self.request(
            "/purchaseOrder",
            &[
                "--header",
                "Content-Type: application/json",
                "--header",
                &format!("Idempotency-Key: {key}"),
                "--data",
                &body.to_string(),
            ],
        )
    }
}

/// An authority and a certificate for `www.shop.lab`.
pub(crate) fn certificates() -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    output(
        Command::new(env!("CARGO_BIN_EXE_order-service"))
            .args([
                "make-ca",
                "--host",
                "www.shop.lab",
                "--ip",
                "203.0.113.10",
                "--dir",
            ])
            .arg(dir.path()),
    )?;
    Ok(dir)
}

fn side_by_side() -> Result<()> {
    let postgres = Postgres::start()?;
    let certificates = certificates()?;
    let one = Service::start(certificates.path(), &postgres.description(), "controller-1")?;
    let two = Service::start(certificates.path(), &postgres.description(), "controller-2")?;

    let (status, first) = one.order("a", 2)?;
    ensure!(
        status == 201 && first["taken_by"] == "controller-1",
        "{status} {first}"
    );
    let (status, again) = two.order("a", 2)?;
    ensure!(
        status == 200 && again == first,
        "the retry at the other service: {status} {again}"
    );
    let (status, other) = two.order("a", 1)?;
    ensure!(
        status == 409,
        "another content under the same key: {status} {other}"
    );
    let (status, found) = two.request(&format!("/orders/{}", first["id"]), &[])?;
    ensure!(status == 200 && found == first, "{status} {found}");
    let (status, stock) = two.request("/stock/teapot", &[])?;
    ensure!(
        status == 200 && stock["quantity"] == 3 && stock["version"] == 1,
        "{status} {stock}"
    );
    let (status, sold_out) = two.order("b", 4)?;
    ensure!(status == 409, "{status} {sold_out}");
    for (key, quantity, expected) in [("", 1, 400), ("c", 0, 400), ("c", -1, 400)] {
        let (status, refused) = one.order(key, quantity)?;
        ensure!(
            status == expected,
            "key `{key}`, quantity {quantity}: {status} {refused}"
        );
    }
    let (status, missing) = one.request("/orders/999999", &[])?;
    ensure!(status == 404, "{status} {missing}");
    let (status, health) = one.request("/healthz", &[])?;
    ensure!(
        status == 200 && health["name"] == "controller-1",
        "{status} {health}"
    );
    Ok(())
}

fn database_away() -> Result<()> {
    let mut postgres = Postgres::start()?;
    postgres.down();
    let certificates = certificates()?;
    let mut service = Service::start(certificates.path(), &postgres.description(), "controller-1")?;
    let (status, health) = service.request("/healthz", &[])?;
    ensure!(status == 503, "without a database: {status} {health}");
    postgres.up()?;
    let (status, order) = service.order("a", 1)?;
    ensure!(status == 201, "after the database came: {status} {order}");
    postgres.down();
    // The order waits while the database starts again.
    let (answer, started) = std::thread::scope(|scope| {
        let order = scope.spawn(|| service.order("b", 1));
        std::thread::sleep(std::time::Duration::from_millis(300));
        let started = postgres.up();
        (order.join(), started)
    });
    started?;
    let (status, order) = answer.expect("no panic")?;
    ensure!(
        status == 201,
        "while the database was away: {status} {order}"
    );
    service.process.signal(Signal::SIGTERM)?;
    let end = service.process.child.wait()?;
    ensure!(end.success(), "SIGTERM ends the service: {end}");
    Ok(())
}
